"""The Create tab: choose consented tags, generate, cancel, listen, download.

What is chosen is decided by the studio, never here: the tab shows the policy's answer while a
person chooses, and :meth:`studio.app.container.Studio.generate` asks again, records a refusal, and
releases only what is sealed and recorded.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.consent import GENERATION_USES
from studio.core.config import FORMATS
from studio.core.errors import StudioError, UsageError
from studio.core.tags import KINDS
from studio.generation.validation import HUMAN_CONTRIBUTIONS
from studio.reports.formatting import KIND_TITLES, USE_TITLES, territories
from studio.web.jobs import Job, JobRunner
from studio.web.ui.callers import acting, always_present, caller, payer
from studio.web.ui.components import PRIVATE, RoutedAudio, absolute_url, log_failure
from studio.web.ui.create import view as views
from studio.web.ui.create.tag_choices import chip_choices, chosen_tags, first_usable, objection

if TYPE_CHECKING:
    from studio.app.container import Release, Studio
    from studio.web.download_tokens import Claims

__all__ = ["CreateTab"]

_SEEDS = 2**31  # seeds offered; small enough to be read out, large enough not to repeat
_LISTED = 12  # outputs of the session that stay listed
_State = dict[Any, Any]  # component -> update, as Gradio wants it
_Work = Callable[[Callable[[Any], None], threading.Event], "Release"]  # for the runner


class CreateTab:
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(
        self,
        studio: Studio,
        claims: Claims,
        runner: JobRunner,
        present: Callable[[str], bool] = always_present,
    ) -> None:
        self._studio = studio
        self._present = present
        self._claims = claims
        self._runner = runner
        self._lock = threading.Lock()
        self._jobs: dict[str, Job[Release]] = {}  # browser session -> its running job
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=7, min_width=320):
                self._build_tags()
                self._build_scope()
                self._build_shape()
                self._build_typed()
            with gr.Column(scale=5, min_width=320):
                self._build_desk()
        self._connect()

    # -- layout -------------------------------------------------------------------------------

    def _build_tags(self) -> None:
        statuses = self._studio.tag_status()
        with gr.Column(elem_classes="section", elem_id="tags"):
            gr.HTML(
                "<h2>What should it sound like?</h2><p>One tag of each kind at most. Dashed tags "
                "cannot be used for what is chosen below; pick one to see why.</p>"
            )
            self.chip_style = gr.HTML(
                views.refused_chip_style([s.tag.id for s in statuses if objection(s)]),
                elem_classes="no-height",
            )
            self.chips = {
                kind: gr.Radio(
                    choices=chip_choices(kind, statuses),
                    value=first_usable(kind, statuses),
                    label=KIND_TITLES[kind],
                    elem_classes="chips",
                )
                for kind in KINDS
            }
            self.grants = gr.HTML(views.grants_table(statuses))

    def _build_scope(self) -> None:
        defaults = self._studio.config.generation
        models = self._studio.models()
        with gr.Column(elem_classes="section"):
            gr.HTML("<h2>What is it for?</h2><p>Consent depends on it, so be exact.</p>")
            self.use = gr.Radio(
                choices=[(USE_TITLES[use], str(use)) for use in GENERATION_USES],
                value=defaults.use,
                label="Intended use",
                elem_classes="chips",
            )
            with gr.Row():
                self.territory = gr.Dropdown(
                    choices=[(name, code) for code, name in territories().items()],
                    value=defaults.territory,
                    label="Territory",
                    min_width=150,
                )
                self.model = gr.Dropdown(
                    choices=[(model.title, model.id) for model in models.values()],
                    value=defaults.model,
                    label="Model",
                    min_width=150,
                )
            self.model_panel = gr.HTML(views.model_panel(models[defaults.model]))

    def _build_shape(self) -> None:
        defaults = self._studio.config.generation
        with gr.Column(elem_classes="section"):
            gr.HTML(
                "<h2>Length, seed and file</h2><p>A longer clip is easier to recognise after "
                "processing.</p>"
            )
            with gr.Row(elem_classes="sliders"):
                self.duration = gr.Slider(
                    minimum=defaults.min_duration_s,
                    maximum=defaults.max_duration_s,
                    value=defaults.duration_s,
                    step=1,
                    label="Duration",
                    info="Seconds of music",
                    buttons=[],
                    min_width=200,
                )
                self.guidance = gr.Slider(
                    minimum=1.0,
                    maximum=10.0,
                    value=self._studio.models()[defaults.model].guidance,
                    step=0.5,
                    label="Guidance",
                    info="Weight of the tags",
                    buttons=[],
                    min_width=200,
                    visible=not self._studio.performs_scores(defaults.model),
                )
            with gr.Row(equal_height=True, elem_classes="seed-row"):
                self.seed = gr.Number(
                    precision=0,
                    minimum=0,
                    maximum=_SEEDS - 1,
                    label="Seed",
                    info="The same choices and seed make the same music",
                    min_width=150,
                )
                self.dice = gr.Button("New seed", size="md", min_width=110, scale=0)
            self.format = gr.Radio(
                choices=[(name.upper(), name) for name in FORMATS],
                value=defaults.format,
                label="File format",
                elem_classes="chips",
            )

    def _build_typed(self) -> None:
        with gr.Accordion(
            "Title, note, what people contribute", open=False, elem_classes="section"
        ):
            self.title = gr.Textbox(
                label="Title",
                info="Made from the tags if you leave it empty. Names of artists are refused",
                max_lines=1,
                max_length=120,
            )
            self.note = gr.Textbox(
                label="Note", info="For your own record", max_lines=3, max_length=500
            )
            self.human = gr.CheckboxGroup(
                choices=[
                    (f"{part}: {meaning}", part)
                    for part, meaning in HUMAN_CONTRIBUTIONS.items()
                    if part != "direction"  # holds for every output
                ],
                label="What people contribute",
                info="Stated in the AI disclosure of the output",
            )

    def _build_desk(self) -> None:
        self.consent = gr.HTML()
        with gr.Row():
            self.generate = gr.Button("Generate", variant="primary", size="lg", min_width=140)
            self.cancel = gr.Button(
                "Cancel", variant="stop", size="lg", min_width=110, scale=0, visible=False
            )
        self.status = gr.HTML()
        self.player = RoutedAudio(
            label="Your output",
            type="filepath",
            interactive=False,
            visible=False,
            buttons=[],
            elem_classes="sealed-player",
        )
        self.result = gr.HTML()
        self._build_further()
        self.session = gr.HTML()
        self.made = gr.State([])  # output ids of this browser session, newest first

    def _build_further(self) -> None:
        """Going on from an output; shown as soon as there is one."""
        with gr.Column(elem_classes="section", visible=False) as self.further:
            gr.HTML(
                "<h2>Go on from an output</h2><p>Consent is asked anew for its tags, and the "
                "record names the parent.</p>"
            )
            self.parent = gr.Dropdown(choices=[], label="Output")
            self.seconds = gr.Slider(
                minimum=1,
                maximum=30,
                value=10,
                step=1,
                label="Extend by",
                info="Seconds more",
                buttons=[],
            )
            with gr.Row():
                self.vary = gr.Button("Vary", size="md", min_width=100)
                self.extend = gr.Button("Extend", size="md", min_width=100)

    @property
    def _shape(self) -> list[Any]:
        return [self.duration, self.guidance, self.seed, self.format]

    @property
    def _listed(self) -> list[Any]:
        return [self.session, self.made, self.further, self.parent]

    # -- events -------------------------------------------------------------------------------

    def _connect(self) -> None:
        chips = list(self.chips.values())
        scope = [self.use, self.territory, self.model]
        gr.on(
            [chip.change for chip in chips],
            self._on_choice,
            [*chips, *scope],
            self.consent,
            **PRIVATE,
        )
        gr.on(
            [self.use.change, self.territory.change, self.model.change],
            self._on_scope,
            [*chips, *scope],
            [*chips, self.chip_style, self.grants, self.model_panel, self.guidance, self.consent],
            **PRIVATE,
        )
        self.dice.click(_roll, None, self.seed, **PRIVATE)
        for button, handler, inputs in (
            (
                self.generate,
                self._on_generate,
                [*chips, *scope, *self._shape, self.title, self.note, self.human, self.made],
            ),
            (self.vary, self._on_vary, [self.parent, self.made]),
            (self.extend, self._on_extend, [self.parent, self.seconds, self.made]),
        ):
            button.click(
                handler,
                inputs,
                [
                    self.generate,
                    self.cancel,
                    self.status,
                    self.player,
                    self.result,
                    *self._listed,
                ],
                trigger_mode="once",
                concurrency_limit=None,  # the runner bounds the work and says so in words
                **PRIVATE,
            )
        self.cancel.click(self._on_cancel, None, None, queue=False, **PRIVATE)

    def connect_load(self, page: gr.Blocks) -> None:
        """Fill the consent panel and draw a seed when a page is opened."""
        page.load(
            self._on_choice,
            [*self.chips.values(), self.use, self.territory, self.model],
            self.consent,
            **PRIVATE,
        )
        page.load(_roll, None, self.seed, **PRIVATE)
        page.load(self._on_load, None, self._listed, **PRIVATE)

    def _on_load(self, request: gr.Request) -> _State:
        """With accounts, what one made stays listed; a local studio shows the session's alone."""
        actor = caller(request)
        if actor.account_id is None or not actor.may(Permission.GENERATE):
            return {self.session: "", self.made: []}
        studio = acting(self._studio, request)
        return self._listing(studio, studio.outputs(_LISTED), request)

    def _on_choice(self, *choice: str) -> str:
        tags, (use, territory, model) = chosen_tags(choice[:-3]), choice[-3:]
        decision = self._studio.decide(tags, use=use, territory=territory, model=model)
        statuses = self._studio.tag_status(model=model, use=use, territory=territory)
        known = {status.tag.id for status in statuses if status.known_to_model}
        return views.consent_panel(decision, [tag for tag in tags if tag not in known])

    def _on_scope(self, *choice: str) -> _State:
        use, territory, model = choice[-3:]
        statuses = self._studio.tag_status(model=model, use=use, territory=territory)
        return {
            **{
                chip: gr.update(choices=chip_choices(kind, statuses))
                for kind, chip in self.chips.items()
            },
            self.chip_style: views.refused_chip_style(
                [status.tag.id for status in statuses if objection(status)]
            ),
            self.grants: views.grants_table(statuses),
            self.model_panel: views.model_panel(self._studio.models()[model]),
            self.guidance: gr.update(
                value=self._studio.models()[model].guidance,
                visible=not self._studio.performs_scores(model),
            ),
            self.consent: self._on_choice(*choice),
        }

    def _on_generate(
        self,
        genre: str,
        mood: str,
        lead: str,
        tempo: str,
        use: str,
        territory: str,
        model: str,
        duration: float | None,
        guidance: float | None,
        seed: float | None,
        format: str,
        title: str | None,  # None: the panel was never opened
        note: str | None,
        human: list[str] | None,
        made: list[str],
        request: gr.Request,
    ) -> Iterator[_State]:
        def work(studio: Studio) -> _Work:
            asked = studio.request(
                chosen_tags((genre, mood, lead, tempo)),
                duration_s=duration,
                seed=None if seed is None else int(seed),
                guidance=guidance,
                use=use,
                territory=territory,
                model=model,
                format=format,
                title=(title or "").strip() or None,
                note=(note or "").strip() or None,
                human=human or (),
            )
            return lambda report, cancel: studio.generate(asked, progress=report, cancel=cancel)

        yield from self._make(work, made, request)

    def _on_vary(
        self, parent: str | None, made: list[str], request: gr.Request
    ) -> Iterator[_State]:
        def work(studio: Studio) -> _Work:
            source = _chosen(parent)
            return lambda report, cancel: studio.vary(source, progress=report, cancel=cancel)

        yield from self._make(work, made, request)

    def _on_extend(
        self, parent: str | None, seconds: float, made: list[str], request: gr.Request
    ) -> Iterator[_State]:
        def work(studio: Studio) -> _Work:
            source = _chosen(parent)
            return lambda report, cancel: studio.extend(
                source, seconds, progress=report, cancel=cancel
            )

        yield from self._make(work, made, request)

    def _make(
        self, work: Callable[[Studio], _Work], made: list[str], request: gr.Request
    ) -> Iterator[_State]:
        """Carry one request out and show how it stands; ``work`` says what is to be made."""
        session = str(request.session_hash)
        yield {
            self.generate: gr.update(interactive=False),
            self.cancel: gr.update(visible=True, interactive=True),
            self.status: views.progress_panel(None, 0.0, cancelling=False),
            self.player: gr.update(value=None, visible=False),
            self.result: "",
        }
        done: _State = {
            self.generate: gr.update(interactive=True),
            self.cancel: gr.update(visible=False),
        }
        try:
            studio = acting(self._studio, request)
            job = self._runner.submit(
                work(studio), account=payer(request), present=partial(self._present, session)
            )
            with self._lock:
                self._jobs[session] = job
            try:
                for now in job.watch():
                    yield {
                        self.status: views.waiting_panel(now.ahead)
                        if now.ahead
                        else views.progress_panel(now.news, now.elapsed_s, now.cancelling)
                    }
            finally:
                with self._lock:
                    self._jobs.pop(session, None)
            release = job.result()
        except (StudioError, CancelledError) as exc:
            yield {**done, self.status: views.failure_panel(exc)}
        except Exception:  # noqa: BLE001 - the person gets a reference, the log a traceback
            yield {**done, self.status: views.unexpected_panel(log_failure("generation"))}
        else:
            made = [release.output_id, *made][:_LISTED]
            link = self._links(request)
            yield {
                **done,
                self.status: "",
                self.player: gr.update(value=link(release), visible=True, label=release.title),
                self.result: views.release_card(release, link(release)),
                **self._listing(studio, [studio.release(earlier) for earlier in made], request),
            }

    def _listing(self, studio: Studio, made: list[Release], request: gr.Request) -> _State:
        """The outputs to listen to again, and to go on from."""
        link = self._links(request)
        kept = caller(request).account_id is not None
        return {
            self.session: views.session_list([(each, link(each)) for each in made], kept=kept),
            self.made: [each.output_id for each in made],
            self.further: gr.update(visible=bool(made)),
            self.parent: gr.update(
                choices=[(each.title, each.output_id) for each in made],
                value=made[0].output_id if made else None,
            ),
        }

    def _on_cancel(self, request: gr.Request) -> None:
        with self._lock:
            job = self._jobs.get(str(request.session_hash))
        if job is not None:
            job.cancel()

    def _links(self, request: gr.Request) -> Callable[[Release], str]:
        return lambda release: absolute_url(request, self._claims.audio_path(release.output_id))


def _chosen(parent: str | None) -> str:
    if not parent:
        raise UsageError("choose the output to go on from")
    return parent


def _roll() -> int:
    return secrets.randbelow(_SEEDS)
