"""The Create tab: choose consented tags, generate, cancel, listen, download.

What is chosen is decided by the studio, never here: the tab shows the policy's answer while a
person chooses, and :meth:`studio.app.container.Studio.generate` asks again, records a refusal, and
releases only what is sealed and recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.core.errors import StudioError
from studio.core.tags import KINDS
from studio.generation.scores import fixes_form
from studio.web.examinations import owner_key
from studio.web.making import Making, Work
from studio.web.ui.callers import acting, caller, payer
from studio.web.ui.components import IN_TURN, PRIVATE, log_failure
from studio.web.ui.create import view as views
from studio.web.ui.create.desk import TakesDesk
from studio.web.ui.create.form import CreateForm, contributions
from studio.web.ui.create.inputs import chosen, kept, roll, title_refusal
from studio.web.ui.create.tag_choices import chip_choices, chosen_tags, objection

if TYPE_CHECKING:
    from studio.app.container import GenerationRequest, Release, Studio
    from studio.music.models.config import ModelConfig
    from studio.web.download_tokens import Claims

__all__ = ["CreateTab"]

_State = dict[Any, Any]  # component -> update, as Gradio wants it


class CreateTab(CreateForm):
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(self, studio: Studio, claims: Claims, making: Making) -> None:
        super().__init__(studio)
        self._making = making
        self._drafts: dict[str, tuple[str | None, ...]] = {}  # account -> tags and scope chosen
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=7, min_width=320):
                self.build_tags()
                self.build_scope()
                self.build_shape()
                self.build_sheet()
                self.build_typed()
            with gr.Column(scale=5, min_width=320):
                self.consent = gr.HTML()
                self.switch = gr.Button("", visible=False, size="md")
                self.notice = gr.HTML()
                self.desk = TakesDesk(studio, claims, making)
                self.build_further()
        self.build_bar()
        self._connect()

    @property
    def _form(self) -> list[Any]:
        """Tags and scope."""
        return [*self.chips.values(), self.use, self.territory, self.model]

    @property
    def _answers(self) -> list[Any]:
        """What tags and scope decide."""
        return [*self.chips.values(), self.chip_style, self.grants, self.model_panel, self.consent]

    # -- events -------------------------------------------------------------------------------

    def _connect(self) -> None:
        chips = list(self.chips.values())
        scope = [self.use, self.territory, self.model]
        gr.on(
            [chip.input for chip in chips],
            self._on_choice,
            self._form,
            [self.consent, self.generate, self.switch],
            **IN_TURN,
        )
        gr.on(
            [self.use.input, self.territory.input],
            self._on_scope,
            self._form,
            [*self._answers, self.generate, self.switch],
            **IN_TURN,
        )
        self.model.input(
            self._on_model,
            [*self._form, self.duration],
            [
                *self._answers,
                self.generate,
                self.switch,
                self.guidance,
                self.sheet.section,
                self.cost,
            ],
            **IN_TURN,
        )
        self.switch.click(
            self._on_switch,
            [*self._form[:-1], self.duration],
            [
                self.model,
                *self._answers,
                self.generate,
                self.switch,
                self.guidance,
                self.sheet.section,
                self.cost,
            ],
            **IN_TURN,
        )
        self.duration.change(
            self._on_cost,
            [self.duration, self.model],
            self.cost,
            trigger_mode="always_last",
            **PRIVATE,
        )
        # A seed that is typed is meant.
        self.seed.input(None, None, self.lock, js="() => true", **PRIVATE)
        self.title.blur(self._on_title, self.title, self.title_note, **PRIVATE)
        watched = [
            self.notice,
            self.title_note,
            self.seed,
            self.cost,
            self.human,
            self.further,
            self.parent,
            self.desk.board,
        ]
        for button, handler, inputs in (
            (
                self.generate,
                self._on_generate,
                [
                    *chips,
                    *scope,
                    self.duration,
                    self.guidance,
                    self.seed,
                    self.lock,
                    self.format,
                    self.title,
                    self.note,
                    self.human,
                    self.sheet.text,
                ],
            ),
            (self.vary, self._on_vary, [self.parent]),
            (self.extend, self._on_extend, [self.parent, self.seconds]),
        ):
            button.click(
                handler,
                inputs,
                watched,
                trigger_mode="multiple",
                concurrency_limit=None,  # the runner bounds the work and says so in words
                **PRIVATE,
            )
        self.desk.commands.submit(
            self._on_command,
            self.desk.commands,
            watched,
            trigger_mode="multiple",
            concurrency_limit=None,
            **PRIVATE,
        )
        self._watched = watched

    def connect_load(self, page: gr.Blocks) -> None:
        """Show choices, jobs and outputs again when a page is opened."""
        page.load(
            self._on_load,
            None,
            [
                *self._form,
                *self._answers[4:],
                self.generate,
                self.switch,
                self.duration,
                self.guidance,
                self.format,
                *self._watched,
            ],
            concurrency_limit=None,
            **PRIVATE,
        )

    def _on_load(self, request: gr.Request) -> Iterator[_State]:
        actor = caller(request)
        if not actor.may(Permission.GENERATE):
            yield {self.notice: ""}
            return
        yield {self.seed: roll(), **self._restored(request)}
        yield from self._watch(request)

    def _restored(self, request: gr.Request) -> _State:
        """The form as the account left it: what it chose last, or asked for last."""
        latest = next(iter(acting(self._studio, request).outputs(1)), None)
        asked = None if latest is None else latest.request
        draft = self._drafts.get(owner_key(caller(request)))
        choice: tuple[str | None, ...]
        if draft is not None:
            choice = draft
        elif asked is not None and asked.model in self._studio.models():
            tags = {tag.partition("/")[0]: tag for tag in asked.tags}
            scope = (asked.use, asked.territory, asked.model)
            choice = (*(tags.get(kind, "") for kind in KINDS), *scope)
        else:
            choice = tuple(part.value for part in self._form)
        state: _State = {
            **dict(zip(self._form, choice, strict=True)),
            **self._scope_state(choice, restoring=True),
        }
        if asked is not None and asked.parent is None:
            state |= {self.duration: asked.duration_s, self.format: asked.format}
        given = None if asked is None or asked.model != choice[-1] else asked.guidance
        state[self.guidance] = self._guidance(str(choice[-1]), given)
        duration = state.get(self.duration, self.duration.value)
        return {**state, self.cost: self._on_cost(duration, str(choice[-1]))}

    # Gradio puts the request in by its position, so that these name every value.

    def _on_choice(
        self,
        genre: str,
        mood: str,
        lead: str,
        tempo: str,
        use: str,
        territory: str,
        model: str,
        request: gr.Request,
    ) -> _State:
        choice = (genre, mood, lead, tempo, use, territory, model)
        self._drafts[owner_key(caller(request))] = choice
        return self._choice_state(choice)

    def _choice_state(self, choice: Sequence[str | None]) -> _State:
        tags = chosen_tags(choice[:-3])
        use, territory, model = (str(part) for part in choice[-3:])
        if use not in self._studio.models()[model].licence_uses:
            other = self._permitted(use)
            return {
                self.consent: views.licence_panel(self._studio.models()[model], use),
                self.generate: gr.update(interactive=False),
                self.switch: gr.update(
                    visible=other is not None,
                    value="" if other is None else f"Use {other.title} instead",
                ),
            }
        decision = self._studio.decide(tags, use=use, territory=territory, model=model)
        statuses = self._studio.tag_status(model=model, use=use, territory=territory)
        known = {status.tag.id for status in statuses if status.known_to_model}
        return {
            self.consent: views.consent_panel(decision, [tag for tag in tags if tag not in known]),
            self.generate: gr.update(interactive=bool(tags)),
            self.switch: gr.update(visible=False),
        }

    def _permitted(self, use: str) -> ModelConfig | None:
        """A model whose licence permits the use, the default one first."""
        models = self._studio.models()
        default = models[self._studio.config.generation.model]
        return next((m for m in (default, *models.values()) if use in m.licence_uses), None)

    def _on_switch(
        self,
        genre: str,
        mood: str,
        lead: str,
        tempo: str,
        use: str,
        territory: str,
        duration: float | None,
        request: gr.Request,
    ) -> _State:
        """To a model whose licence permits the use."""
        other = self._permitted(use)
        if other is None:
            return {self.switch: gr.update(visible=False)}
        form = (genre, mood, lead, tempo, use, territory, other.id)
        return {self.model: other.id, **self._on_model(*form, duration, request)}

    def _on_scope(
        self,
        genre: str,
        mood: str,
        lead: str,
        tempo: str,
        use: str,
        territory: str,
        model: str,
        request: gr.Request,
    ) -> _State:
        choice = (genre, mood, lead, tempo, use, territory, model)
        self._drafts[owner_key(caller(request))] = choice
        return self._scope_state(choice)

    def _on_model(
        self,
        genre: str,
        mood: str,
        lead: str,
        tempo: str,
        use: str,
        territory: str,
        model: str,
        duration: float | None,
        request: gr.Request,
    ) -> _State:
        return {
            **self._on_scope(genre, mood, lead, tempo, use, territory, model, request),
            self.guidance: self._guidance(model),
            self.sheet.section: gr.update(visible=self._studio.performs_scores(model)),
            self.cost: self._on_cost(duration, model),
        }

    def _scope_state(self, choice: Sequence[str | None], *, restoring: bool = False) -> _State:
        """What tags and scope decide; which tags are picked changes only in `restoring` them.

        A click that comes while the answer is on its way must stand.
        """
        use, territory, model = (str(part) for part in choice[-3:])
        statuses = self._studio.tag_status(model=model, use=use, territory=territory)
        values = dict(zip(self.chips, choice, strict=False))
        return {
            **{
                chip: gr.update(choices=chip_choices(kind, statuses), value=values[kind])
                if restoring
                else gr.update(choices=chip_choices(kind, statuses))
                for kind, chip in self.chips.items()
            },
            self.chip_style: views.refused_chip_style(
                [status.tag.id for status in statuses if objection(status)]
            ),
            self.grants: views.grants_table(statuses),
            self.model_panel: views.model_panel(self._studio.models()[model]),
            **self._choice_state(choice),
        }

    def _guidance(self, model: str, value: float | None = None) -> Any:
        """The slider as the model takes it: what performs scores has none."""
        return gr.update(
            value=self._studio.models()[model].guidance if value is None else value,
            visible=not self._studio.performs_scores(model),
        )

    def _on_cost(self, duration: float | None, model: str) -> str:
        expected = self._making.expected_s(model, float(duration or 0))
        return views.cost_line(expected, duration)

    def _on_title(self, title: str | None) -> str:
        """The title is looked at as soon as it is left, beside its field."""
        return views.field_note(title_refusal(self._studio, title))

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
        locked: bool,
        format: str,
        title: str | None,  # None: the panel was never opened
        note: str | None,
        human: list[str] | None,
        sheet: str | None,
        request: gr.Request,
    ) -> Iterator[_State]:
        refused = title_refusal(self._studio, title)
        if refused is not None:
            yield {
                self.title_note: views.field_note(refused),
                self.notice: views.failure_panel(refused),
            }
            return
        drawn: dict[str, int] = {}

        def work(studio: Studio) -> tuple[GenerationRequest, Work] | Release:
            drawn["seed"] = kept(seed) if locked else roll()
            lines = sheet if sheet and studio.performs_scores(model) else None
            asked = studio.request(
                chosen_tags((genre, mood, lead, tempo)),
                duration_s=None if lines and fixes_form(lines) else duration,
                sheet=lines,
                seed=drawn["seed"],
                guidance=guidance,
                use=use,
                territory=territory,
                model=model,
                format=format,
                title=(title or "").strip() or None,
                note=(note or "").strip() or None,
                human=human or (),
            )
            if locked and (earlier := studio.existing(asked)) is not None:
                return earlier
            return asked, lambda report, cancel: studio.generate(
                asked, progress=report, cancel=cancel
            )

        for state in self._make(work, request):
            yield state | ({self.seed: drawn["seed"]} if drawn else {})
            drawn.clear()

    def _on_vary(self, parent: str | None, request: gr.Request) -> Iterator[_State]:
        def work(studio: Studio) -> tuple[GenerationRequest, Work]:
            source = chosen(parent)
            asked = studio.release(source).request
            return asked, lambda report, cancel: studio.vary(source, progress=report, cancel=cancel)

        yield from self._make(work, request)

    def _on_extend(
        self, parent: str | None, seconds: float, request: gr.Request
    ) -> Iterator[_State]:
        def work(studio: Studio) -> tuple[GenerationRequest, Work]:
            source = chosen(parent)
            asked = studio.release(source).request
            return asked, lambda report, cancel: studio.extend(
                source, seconds, progress=report, cancel=cancel
            )

        yield from self._make(work, request)

    def _make(
        self,
        prepare: Callable[[Studio], tuple[GenerationRequest, Work] | Release],
        request: gr.Request,
    ) -> Iterator[_State]:
        """Put one request in line, then follow the account's jobs on this page."""
        try:
            mine: Any = acting(self._studio, request)
            mine.require("generate")
            prepared = prepare(mine)
            if isinstance(prepared, tuple):
                asked, work = prepared
                self._making.add(
                    owner_key(caller(request)),
                    views.request_label(asked),
                    work,
                    seconds=asked.duration_s,
                    model=asked.model,
                    account=payer(request),
                )
        except StudioError as exc:
            yield {self.notice: views.failure_panel(exc)}
            return
        except Exception:  # noqa: BLE001 - the person gets a reference, the log a traceback
            yield {self.notice: views.unexpected_panel(log_failure("generation"))}
            return
        shown = "" if isinstance(prepared, tuple) else views.existing_panel(prepared)
        first = {self.notice: shown, self.title_note: ""}
        for state in self._watch(request):
            yield first | state
            first = {}

    def _on_command(self, command: Any, request: gr.Request) -> Iterator[_State]:
        """Cancel or dismiss one job of the list."""
        actor = caller(request)
        owner = owner_key(actor)
        if not actor.may(Permission.GENERATE):
            return
        if isinstance(command, dict):
            if isinstance(id_ := command.get("cancel"), str):
                self._making.cancel(owner, id_)
            if isinstance(id_ := command.get("dismiss"), str):
                self._making.dismiss(owner, id_)
        yield from self._watch(request)

    def _watch(self, request: gr.Request) -> Iterator[_State]:
        """The list of jobs and outputs, as long as there is something to see."""
        for board, takes in self.desk.watch(request):
            state: _State = {self.desk.board: board}
            if takes is not None:
                state |= {
                    self.further: gr.update(visible=bool(takes)),
                    self.parent: gr.update(
                        choices=[(each.title, each.output_id) for each in takes],
                        value=takes[0].output_id if takes else None,
                    ),
                    self.human: gr.update(choices=contributions(has_outputs=bool(takes))),
                }
            yield state
