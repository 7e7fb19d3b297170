"""What the Create tab shows, as HTML: consent for the choice, progress, the output, the session.

Pure functions from the studio's own types to text; no Gradio in here, so each is tested by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from studio.consent.types import WORLD
from studio.core.errors import (
    AccessDeniedError,
    BeyondLimitsError,
    ConsentRefusedError,
    GenerationCancelledError,
    LedgerError,
    ModelError,
    SealingError,
    UsageError,
)
from studio.core.tags import listing_key
from studio.generation.progress import Progress, Stage
from studio.reports.formatting import (
    USE_TITLES,
    day,
    esc,
    tag_name,
    territory_name,
)
from studio.web.jobs import BusyError
from studio.web.making import JobState, MadeJob
from studio.web.ui.output_view import use_words

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import TagStatus
    from studio.consent import Decision, Grant, GrantVerdict, TagDecision
    from studio.music.models.config import ModelConfig
    from studio.provenance.release import GenerationRequest, Release

__all__ = [
    "STEPS",
    "absent_panel",
    "consent_panel",
    "cost_line",
    "existing_panel",
    "failure_panel",
    "field_note",
    "grants_table",
    "job_line",
    "job_panel",
    "licence_panel",
    "model_panel",
    "progress_panel",
    "refused_chip_style",
    "repeats_line",
    "request_label",
    "unexpected_panel",
]


def consent_panel(decision: Decision, unknown: Sequence[str] = ()) -> str:
    """Who has granted the chosen tags, for what and until when; or why one is refused.

    ``unknown``: chosen tags that the model was never trained on.
    """
    scope = f"{use_words(decision.use)}, {territory_name(decision.territory).lower()}"
    if not decision.tags:
        banner = _banner("", "Pick at least one tag.", "The studio makes music from tags only.")
    elif decision.allowed and unknown:
        names = ", ".join(map(tag_name, unknown))
        banner = _banner("warn", f"✗ Not for this model: {names}", "It was not trained on it.")
    elif decision.allowed:
        count = len(decision.tags)
        what = "The tag is" if count == 1 else f"All {count} tags are"
        banner = _banner("good", f"✓ {what} granted", f"for {scope}, with this model.")
    else:
        refused = sum(not tag.granted for tag in decision.tags)
        what = "1 tag is" if refused == 1 else f"{refused} tags are"
        banner = _banner(
            "bad",
            f"✗ {what} not granted",
            f"for {scope}, with this model. Nothing will be generated until you change it.",
        )
    rows = [_refused_row(tag) for tag in decision.tags if not tag.granted]
    rows += [_granted_row(grant, decision) for grant in decision.grants]
    listing = f'<ul class="consent-list">{"".join(rows)}</ul>' if rows else ""
    return (
        '<section class="card" aria-label="Consent for your choice" aria-live="polite">'
        "<h2>Consent for your choice</h2><p class='small soft'>Asked again when the music is "
        f"released.</p>{banner}{listing}</section>"
    )


def licence_panel(model: ModelConfig, use: str) -> str:
    """The licence of the model forbids the use, whatever was granted: said once."""
    return (
        '<section class="card" aria-label="Consent for your choice" aria-live="polite">'
        "<h2>Consent for your choice</h2>"
        + _banner(
            "bad",
            f"✗ Not with {model.title}",
            f"Its licence ({model.licence}) does not permit {use_words(use)}, whoever consents. "
            "Choose another model or another use.",
        )
        + "</section>"
    )


def absent_panel(model: ModelConfig, why: str) -> str:
    """No music can be made with the model here, whatever was granted."""
    return (
        '<section class="card" aria-label="Consent for your choice" aria-live="polite">'
        "<h2>Consent for your choice</h2>"
        + _banner("warn", f"✗ {model.title} is not on this machine", why)
        + "</section>"
    )


def _granted_row(grant: Grant, decision: Decision) -> str:
    """One grant that is relied on, with the chosen tags it covers."""
    tags = [tag for tag in decision.tags if tag.grant is not None and tag.grant.id == grant.id]
    holder = next(tag.holder.name for tag in tags if tag.holder is not None)
    until = f"until {day(grant.valid_until)}" if grant.valid_until else "until revoked"
    uses = ", ".join(use for use in USE_TITLES if use in grant.uses)
    places = ", ".join(territory_name(code) for code in sorted(grant.territories))
    where = "worldwide" if grant.territories == {WORLD} else f"in {places}"
    return (
        '<li class="granted"><span class="mark" aria-hidden="true">✓</span><div>'
        f'<span class="what">{esc(", ".join(tag_name(tag.tag) for tag in tags))}</span>'
        f'<div class="who">Granted by <b>{esc(holder)}</b>, {esc(until)}, for {esc(uses)}; '
        f'{esc(where)}. Grant <span class="mono">{esc(grant.id)}</span></div></div></li>'
    )


_MOST_BLOCKED = 8  # grants named that do not cover a tag, nearest first; there can be hundreds


def _refused_row(tag: TagDecision) -> str:
    kind = tag.tag.split("/", 1)[0]
    blocked = [verdict for verdict in tag.considered[1:] if not verdict.covers]
    others = "".join(f"<li>{esc(_blocked(verdict))}</li>" for verdict in blocked[:_MOST_BLOCKED])
    if len(blocked) > _MOST_BLOCKED:
        others += f"<li>and {len(blocked) - _MOST_BLOCKED} further grants do not cover it</li>"
    more = f"<ul>{others}</ul>" if others else ""
    return (
        '<li class="refused"><span class="mark" aria-hidden="true">✗</span><div>'
        f'<span class="what">{esc(tag_name(tag.tag))}</span> <span class="soft">{esc(kind)}</span>'
        f'<div class="who">{esc(_sentence(tag))}{more}</div></div></li>'
    )


def _blocked(verdict: GrantVerdict) -> str:
    why = ", ".join(str(failure) for failure in verdict.failures)
    return f"{verdict.holder.name} ({verdict.grant.id}) does not cover it: {why}"


def _sentence(tag: TagDecision) -> str:
    """The policy's explanation without the tag id in front: the row already names the tag."""
    text = tag.explanation.removeprefix(f"{tag.tag}: ")
    return f"{text[:1].upper()}{text[1:]}."


def grants_table(statuses: Sequence[TagStatus]) -> str:
    """Every tag: who granted it for the chosen use, and until when, or why it is refused."""
    alike: dict[tuple[str, str], list[str]] = {}
    for status in sorted(statuses, key=lambda status: listing_key(status.tag)):
        if status.granted:
            until = f"until {day(status.valid_until)}" if status.valid_until else "until revoked"
            answer = (", ".join(status.holders), until)
        else:
            reason = status.explanation.removeprefix(f"{status.tag.id}: ")
            answer = ("not granted", reason)
        alike.setdefault(answer, []).append(tag_name(status.tag.id))
    rows = "".join(
        f'<tr><th scope="row">{esc(who)}</th><td>{esc(detail)}</td>'
        f"<td>{esc(', '.join(names))}</td></tr>"
        for (who, detail), names in alike.items()
    )
    return (
        '<details class="small"><summary>Who granted which tag, and until when</summary>'
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">Granted by</th>'
        '<th scope="col">Term</th><th scope="col">Tags</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def refused_chip_style(refused: Sequence[str]) -> str:
    """A style sheet that marks the chips of refused tags; choosing one still explains it."""
    if not refused:
        return ""
    chips = ",".join(f'label:has(input[value="{esc(tag)}"])' for tag in refused)
    chip = f"#tags .chips :is({chips})"
    return (
        f"<style>{chip}{{border-style:dashed !important;border-color:var(--bad) !important}}"
        f"{chip} span{{color:var(--bad) !important}}"
        f"{chip}.selected{{background:var(--bad-soft) !important;border-style:solid !important}}"
        "</style>"
    )


def model_panel(model: ModelConfig) -> str:
    """Licence and training basis of the chosen model, beside the consent for the style."""
    uses = ", ".join(use for use in USE_TITLES if use in model.licence_uses) or "none"
    return (
        '<div class="small" aria-label="About the model"><dl class="facts">'
        f"<dt>Licence</dt><dd>{esc(model.licence)} (permits: {esc(uses)})</dd>"
        f"<dt>Trained on</dt><dd>{esc(model.training_basis)}</dd>{_whereabouts(model)}</dl>"
        '<p class="soft after">Consent for a style tag is not consent for training: the line above '
        "says what this model learned from.</p></div>"
    )


def _whereabouts(model: ModelConfig) -> str:
    """Hub models are not embedded, and a studio that stays at home does not fetch them unasked."""
    if model.kind == "house":
        return ""
    size = "" if model.download_mb is None else f" (about {model.download_mb / 1000:g} GB)"
    return (
        f"<dt>Files</dt><dd>Not part of this studio{size}: needed on this machine, or fetched when "
        'the studio is started with <span class="mono">HF_HUB_OFFLINE=0</span>.</dd>'
    )


# -- while it works -------------------------------------------------------------------------------

STEPS: tuple[tuple[str, frozenset[Stage]], ...] = (
    ("Consent", frozenset({Stage.CONSENT, Stage.RESERVE})),
    ("Music", frozenset({Stage.GENERATE})),
    (
        "Seal, encoding, credits",
        frozenset({Stage.SEAL, Stage.ENCODE, Stage.TAG, Stage.SIGN}),
    ),
    ("Reading the seal back from the file", frozenset({Stage.READ_BACK})),
    ("Ledger entry and release", frozenset({Stage.RELEASE, Stage.DONE})),
)
"""The steps a person sees, and the pipeline's stages within each."""


NOTHING_KEPT = "Nothing was kept and nothing was released."


def job_line(made: MadeJob) -> str:
    """How a request stands, in a few words."""
    now = None if made.job is None else made.job.moment()
    if made.state is JobState.STOPPING:
        return "Stopping …"
    if now is not None and now.ahead:
        return f"Waiting: {now.ahead} {'request' if now.ahead == 1 else 'requests'} before yours"
    if now is None or now.news is None:
        return "Starting …"
    return str(now.news.text)


def job_panel(made: MadeJob) -> str:
    """A request at work, or what became of it."""
    name = f'<p class="small soft">{esc(made.label)}</p>'
    if made.output_ids and not made.state.live:
        count = len(made.output_ids)
        finished = "The take that was finished is" if count == 1 else f"{count} finished takes are"
        name += f"<p class='small'>{finished} in the list.</p>"
    if made.state is JobState.INTERRUPTED:
        return name + _banner(
            "warn",
            "Interrupted",
            "The studio was stopped while this was being made. Nothing was released; press "
            "Generate to ask for it again.",
        )
    if made.state is JobState.CANCELLED:
        kept = "Nothing more is made." if made.output_ids else NOTHING_KEPT
        return name + _banner("", "Cancelled", kept)
    if isinstance(made.failure, str):
        return name + unexpected_panel(made.failure)
    if made.failure is not None:
        return name + failure_panel(made.failure)
    if made.state is JobState.WAITING:
        return f"<h2>{esc(job_line(made))}</h2>{name}"
    now = None if made.job is None else made.job.moment()
    progress = None if now is None else now.news
    elapsed_s = 0.0 if now is None else now.elapsed_s
    return progress_panel(progress, elapsed_s, made.state is JobState.STOPPING) + name


def request_label(request: GenerationRequest, takes: int = 1) -> str:
    """What was asked for, in a few words: tags, length, how many takes."""
    several = f", {takes} takes" if takes > 1 else ""
    return f"{', '.join(tag_name(tag) for tag in request.tags)}, {request.duration_s:g} s{several}"


def existing_panel(release: Release) -> str:
    """The very same request was carried out before."""
    return _status(
        _banner(
            "good",
            "You have this already",
            f"The same choices and seed made “{release.title}” (seal {release.seal_id}). Nothing "
            "was made or counted. Untick “Keep this seed” for new music.",
        ),
        bare=True,
    )


def field_note(refused: BaseException | None) -> str:
    """Beside a field: why what was typed cannot be; empty where it can."""
    if refused is None:
        return ""
    text = str(refused)
    return f'<p class="field-note" role="alert">{esc(text[:1].upper() + text[1:])}</p>'


def cost_line(expected_s: float | None, duration_s: float | None) -> str:
    """How long the music will take to make."""
    if not duration_s:
        return ""
    if expected_s is None:
        return (
            f'<span class="small soft">{duration_s:g} s of music. How long that takes is known '
            "after the first piece.</span>"
        )
    return (
        f'<span class="small soft">{duration_s:g} s of music: about '
        f"{max(1, round(expected_s))} s of work a take.</span>"
    )


def repeats_line(made: int, limit: int) -> str:
    """How much of the day's limit on repeated music is used; empty at none."""
    if not made:
        return ""
    return f"{made} of {limit} repeats of earlier music today; a new seed makes new music."


def progress_panel(progress: Progress | None, elapsed_s: float, cancelling: bool) -> str:
    """Which step the work is at, and how far the whole is."""
    stage = progress.stage if progress is not None else Stage.CONSENT
    current = next(number for number, (_, stages) in enumerate(STEPS) if stage in stages)
    steps = "".join(
        f'<li class="{state}"{" aria-current=step" if state == "now" else ""}>'
        f'<span class="dot" aria-hidden="true">{mark}</span>{title}</li>'
        for number, (title, _) in enumerate(STEPS)
        for state, mark in [
            ("done", "✓") if number < current else ("now", "●") if number == current else ("", "○")
        ]
    )
    reported = "Starting" if progress is None else progress.text
    doing = "Stopping" if cancelling else reported
    percent = 100 * (progress.fraction if progress is not None else 0.0)
    # No live region: it is drawn anew several times a second, and a reader would never stop.
    return (
        f"<section><h2>{esc(doing)} …</h2>"
        f'<div class="meter" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{percent:.0f}"><div style="width:{percent:.1f}%">'
        f'</div></div><ol class="stages">{steps}</ol><p class="small soft">{elapsed_s:.0f} s</p>'
        "</section>"
    )


_FAILURES: tuple[tuple[type[BaseException], str, str], ...] = (
    (AccessDeniedError, "bad", "Not permitted"),
    (ConsentRefusedError, "bad", "Not generated: consent is missing"),
    (GenerationCancelledError, "", "Cancelled"),
    (CancelledError, "", "Cancelled"),
    (BusyError, "warn", "The studio is busy"),
    (BeyondLimitsError, "warn", "Not examined: over a limit"),
    (UsageError, "warn", "This request is not possible"),
    (ModelError, "warn", "The model cannot be used"),
    (SealingError, "warn", "Not released: the seal could not be read back"),
    (LedgerError, "bad", "Not released: the ledger cannot be written"),
)


def failure_panel(error: BaseException) -> str:
    """Why there is no result, in plain words; an error of ours says what to do."""
    tone, title = next(
        ((tone, title) for kind, tone, title in _FAILURES if isinstance(error, kind)),
        ("bad", "This did not work"),
    )
    if isinstance(error, GenerationCancelledError | CancelledError):
        text = NOTHING_KEPT
    elif isinstance(error, ConsentRefusedError):
        reasons = str(error).removeprefix("refused: ").split("; ")
        items = "".join(f"<li>{esc(reason)}</li>" for reason in reasons)
        return _status(
            f'<div class="banner bad"><strong>{esc(title)}</strong><ul>{items}</ul>'
            "<p>The refusal is noted in the ledger. Choose another tag, use, territory or model."
            "</p></div>",
            bare=True,
        )
    else:
        text = str(error)
        text = f"{text[:1].upper()}{text[1:]}"
    return _status(_banner(tone, title, text), bare=True)


def unexpected_panel(reference: str) -> str:
    """A fault of the studio's own: a reference for the operator's log, nothing of its insides."""
    return _status(
        _banner(
            "bad",
            "Something went wrong on our side",
            "Nothing was released. Please try again; if it happens twice, tell whoever runs this "
            f"studio the reference {reference}.",
        ),
        bare=True,
    )


def _banner(tone: str, title: str, text: str) -> str:
    return f'<div class="banner {tone}"><strong>{esc(title)}</strong><p>{esc(text)}</p></div>'


def _status(body: str, *, bare: bool = False) -> str:
    frame = "" if bare else "card"
    return f'<section class="{frame}" role="status">{body}</section>'
