"""What the Create tab shows, as HTML: consent for the choice, progress, what went wrong.

Pure functions from the studio's own types to markup; no Gradio in here, so each is tested by
itself. The templates are in ``studio/web/ui/templates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

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
    tag_name,
    territory_name,
)
from studio.web.jobs.making import JobState, MadeJob
from studio.web.jobs.queue import BusyError
from studio.web.ui.output_view import use_words
from studio.web.ui.templating import draw

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


def consent_panel(decision: Decision, unknown: Sequence[str] = ()) -> Markup:
    """Who has granted the chosen tags, for what and until when; or why one is refused.

    ``unknown``: chosen tags that the model was never trained on.
    """
    return draw(
        "create/consent.html",
        "consent_panel",
        *_consent_in_words(decision, unknown),
        asked_again=True,
        refused=[_refused_row(tag) for tag in decision.tags if not tag.granted],
        granted=[_granted_row(grant, decision) for grant in decision.grants],
    )


def _consent_in_words(decision: Decision, unknown: Sequence[str]) -> tuple[str, str, str]:
    """Tone, title and text of the answer."""
    scope = f"{use_words(decision.use)}, {territory_name(decision.territory).lower()}"
    if not decision.tags:
        return "", "Pick at least one tag.", "The studio makes music from tags only."
    if decision.allowed and unknown:
        names = ", ".join(map(tag_name, unknown))
        return "warn", f"✗ Not for this model: {names}", "It was not trained on it."
    if decision.allowed:
        count = len(decision.tags)
        what = "The tag is" if count == 1 else f"All {count} tags are"
        return "good", f"✓ {what} granted", f"for {scope}, with this model."
    refused = sum(not tag.granted for tag in decision.tags)
    what = "1 tag is" if refused == 1 else f"{refused} tags are"
    return (
        "bad",
        f"✗ {what} not granted",
        f"for {scope}, with this model. Nothing will be generated until you change it.",
    )


def licence_panel(model: ModelConfig, use: str) -> Markup:
    """The licence of the model forbids the use, whatever was granted: said once."""
    return draw(
        "create/consent.html",
        "consent_panel",
        "bad",
        f"✗ Not with {model.title}",
        f"Its licence ({model.licence}) does not permit {use_words(use)}, whoever consents. "
        "Choose another model or another use.",
    )


def absent_panel(model: ModelConfig, why: str) -> Markup:
    """No music can be made with the model here, whatever was granted."""
    title = f"✗ {model.title} is not on this machine"
    return draw("create/consent.html", "consent_panel", "warn", title, why, fetch=model.id)


class _Granted(NamedTuple):
    names: list[str]
    holder: str
    until: str
    uses: str
    where: str
    grant: str


def _granted_row(grant: Grant, decision: Decision) -> _Granted:
    """One grant that is relied on, with the chosen tags it covers."""
    tags = [tag for tag in decision.tags if tag.grant is not None and tag.grant.id == grant.id]
    places = ", ".join(territory_name(code) for code in sorted(grant.territories))
    return _Granted(
        names=[tag_name(tag.tag) for tag in tags],
        holder=next(tag.holder.name for tag in tags if tag.holder is not None),
        until=f"until {day(grant.valid_until)}" if grant.valid_until else "until revoked",
        uses=", ".join(use for use in USE_TITLES if use in grant.uses),
        where="worldwide" if grant.territories == {WORLD} else f"in {places}",
        grant=grant.id,
    )


_MOST_BLOCKED = 8  # grants named that do not cover a tag, nearest first; there can be hundreds


class _Refused(NamedTuple):
    name: str
    kind: str
    why: str
    others: list[str]  # grants that do not cover the tag


def _refused_row(tag: TagDecision) -> _Refused:
    blocked = [verdict for verdict in tag.considered[1:] if not verdict.covers]
    others = [_blocked(verdict) for verdict in blocked[:_MOST_BLOCKED]]
    if len(blocked) > _MOST_BLOCKED:
        others.append(f"and {len(blocked) - _MOST_BLOCKED} further grants do not cover it")
    return _Refused(tag_name(tag.tag), tag.tag.split("/", 1)[0], _sentence(tag), others)


def _blocked(verdict: GrantVerdict) -> str:
    why = ", ".join(str(failure) for failure in verdict.failures)
    return f"{verdict.holder.name} ({verdict.grant.id}) does not cover it: {why}"


def _sentence(tag: TagDecision) -> str:
    """The policy's explanation without the tag id in front: the row already names the tag."""
    text = tag.explanation.removeprefix(f"{tag.tag}: ")
    return f"{text[:1].upper()}{text[1:]}."


def grants_table(statuses: Sequence[TagStatus]) -> Markup:
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
    return draw("create/consent.html", "grants_table", alike.items())


def refused_chip_style(refused: Sequence[str]) -> Markup:
    """A style sheet that marks the chips of refused tags; choosing one still explains it."""
    if not refused:
        return Markup()
    return draw("create/consent.html", "refused_chip_style", refused)


def model_panel(model: ModelConfig) -> Markup:
    """Licence and training basis of the chosen model, beside the consent for the style.

    Hub models are not part of the studio, which does not fetch them unasked: it says so.
    """
    uses = ", ".join(use for use in USE_TITLES if use in model.licence_uses) or "none"
    return draw("create/consent.html", "model_panel", model, uses)


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
    if now is not None and (before := now.queue_position):
        return f"Waiting: {before} {'request' if before == 1 else 'requests'} before yours"
    if now is None or now.progress is None:
        return "Starting …"
    return str(now.progress.text)


def job_panel(made: MadeJob) -> Markup:
    """A request at work, or what became of it."""
    finished = ""
    if made.output_ids and not made.state.live:
        count = len(made.output_ids)
        which = "The take that was finished is" if count == 1 else f"{count} finished takes are"
        finished = f"{which} in the list."
    name = draw("create/progress.html", "job_name", made.label, finished)
    if made.state is JobState.INTERRUPTED:
        return name + draw(
            "parts.html",
            "banner",
            "warn",
            "Interrupted",
            "The studio was stopped while this was being made. Nothing was released; press "
            "Generate to ask for it again.",
        )
    if made.state is JobState.CANCELLED:
        kept = "Nothing more is made." if made.output_ids else NOTHING_KEPT
        return name + draw("parts.html", "banner", "", "Cancelled", kept)
    if isinstance(made.failure, str):
        return name + unexpected_panel(made.failure)
    if made.failure is not None:
        return name + failure_panel(made.failure)
    if made.state is JobState.WAITING:
        return draw("create/progress.html", "waiting", job_line(made)) + name
    now = None if made.job is None else made.job.moment()
    progress = None if now is None else now.progress
    elapsed_s = 0.0 if now is None else now.elapsed_s
    return progress_panel(progress, elapsed_s, made.state is JobState.STOPPING) + name


def request_label(request: GenerationRequest, takes: int = 1) -> str:
    """What was asked for, in a few words: tags, length, how many takes."""
    several = f", {takes} takes" if takes > 1 else ""
    return f"{', '.join(tag_name(tag) for tag in request.tags)}, {request.duration_s:g} s{several}"


def existing_panel(release: Release) -> Markup:
    """The very same request was carried out before."""
    return _status(
        "good",
        "You have this already",
        f"The same choices and seed made “{release.title}” (seal {release.seal_id}). Nothing "
        "was made or counted. Untick “Keep this seed” for new music.",
    )


def field_note(refused: BaseException | None) -> Markup:
    """The note beside a field: why its text is refused; empty where it is not."""
    return Markup() if refused is None else draw("parts.html", "field_note", _said(refused))


def cost_line(expected_s: float | None, duration_s: float | None) -> Markup:
    """How long the music will take to make."""
    if not duration_s:
        return Markup()
    cost = "How long that takes is known after the first piece."
    if expected_s is not None:
        cost = f"about {max(1, round(expected_s))} s of work a take."
    mark = "." if expected_s is None else ":"
    return draw("create/progress.html", "cost", f"{duration_s:g} s of music{mark} {cost}")


def repeats_line(made: int, limit: int) -> str:
    """How much of the day's limit on repeated music is used; empty at none."""
    if not made:
        return ""
    return f"{made} of {limit} repeats of earlier music today; a new seed makes new music."


def progress_panel(progress: Progress | None, elapsed_s: float, cancelling: bool) -> Markup:
    """Which step the work is at, and how far the whole is."""
    stage = progress.stage if progress is not None else Stage.CONSENT
    current = next(number for number, (_, stages) in enumerate(STEPS) if stage in stages)
    marks = {-1: ("done", "✓"), 0: ("now", "●"), 1: ("", "○")}
    steps = [
        (title, *marks[(number > current) - (number < current)])
        for number, (title, _) in enumerate(STEPS)
    ]
    reported = "Starting" if progress is None else progress.text
    return draw(
        "create/progress.html",
        "progress_panel",
        doing="Stopping" if cancelling else reported,
        percent=100 * (progress.fraction if progress is not None else 0.0),
        steps=steps,
        elapsed_s=elapsed_s,
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


def failure_panel(error: BaseException) -> Markup:
    """Why there is no result, in plain words; an error of ours says what to do."""
    tone, title = next(
        ((tone, title) for kind, tone, title in _FAILURES if isinstance(error, kind)),
        ("bad", "This did not work"),
    )
    if isinstance(error, GenerationCancelledError | CancelledError):
        return _status(tone, title, NOTHING_KEPT)
    if isinstance(error, ConsentRefusedError):
        return draw(
            "parts.html",
            "refusal",
            title,
            str(error).removeprefix("refused: ").split("; "),
            "The refusal is noted in the ledger. Choose another tag, use, territory or model.",
        )
    return _status(tone, title, _said(error))


def unexpected_panel(reference: str) -> Markup:
    """A fault of the studio's own: a reference for the operator's log, nothing of its insides."""
    return _status(
        "bad",
        "Something went wrong on our side",
        "Nothing was released. Please try again; if it happens twice, tell whoever runs this "
        f"studio the reference {reference}.",
    )


def _said(error: BaseException) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _status(tone: str, title: str, text: str) -> Markup:
    return draw("parts.html", "status", tone, title, text)
