"""The Create tab: choose consented tags, generate, cancel, listen, download.

What is chosen is decided by the studio, never here: the tab shows the policy's answer while a
person chooses, and the use case asks again, records a refusal, and releases only what is sealed and
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.accounts.permissions import Permission
from studio.core.errors import StudioError
from studio.generation.derived.scores import fixes_form
from studio.generation.orders import Order
from studio.generation.takes import MOST_TAKES
from studio.web.jobs.making import PageJobs
from studio.web.ui.callers import caller, payer, session_of
from studio.web.ui.components import IN_TURN, PRIVATE, log_failure
from studio.web.ui.create import view as views
from studio.web.ui.create.form import contributions, model_choices
from studio.web.ui.create.further import lead_choices, takes_lead, wish_of, wish_of_release
from studio.web.ui.create.inputs import GenerateForm, chosen, kept, roll, title_refusal
from studio.web.ui.create.scope import ScopeEvents, State
from studio.web.ui.create.sheet import sheet_text
from studio.web.ui.create.takes_list import TakesList

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.app.session import Session
    from studio.generation.derived.derivation import Wish
    from studio.provenance.release import GenerationRequest, Release
    from studio.web.http.download_tokens import DownloadTokens

__all__ = ["CreateTab"]

Prepared = tuple["GenerationRequest", Order]
"""What is shown of a request for music, and what is put in line."""


class CreateTab(ScopeEvents):
    """Builds the tab inside the current ``gr.Blocks`` and answers its events."""

    def __init__(self, gateway: Gateway, download_tokens: DownloadTokens, making: PageJobs) -> None:
        super().__init__(gateway, making)
        with gr.Row(equal_height=False, elem_classes="desk"):
            with gr.Column(scale=7, min_width=320):
                self.build_tags()
                self.build_scope()
                self.build_shape()
                self.build_sheet()
                self.build_typed()
            with gr.Column(scale=5, min_width=320):
                self.build_answer()
                self.notice = gr.HTML()
                self.takes_list = TakesList(gateway, download_tokens, making)
                self.build_further()
        self.build_bar()
        self._connect()

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
            [self.duration, *self._form],
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
            [self.duration, *self._form],
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
        self.change.change(self._on_change, [self.change, self.parent], self.other_lead, **PRIVATE)
        watched = [
            self.notice,
            self.title_note,
            self.seed,
            self.human,
            self.further,
            self.parent,
            self.takes_list.board,
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
                    self.takes,
                    self.format,
                    self.title,
                    self.note,
                    self.human,
                    self.sheet.text,
                ],
            ),
            (self.vary, self._on_vary, [self.parent, self.change, self.other_lead]),
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
        self.takes_list.settings.submit(
            self._on_settings,
            self.takes_list.settings,
            [*self._restorable, self.sheet.text, self.notice],
            **IN_TURN,
        )
        self._watched = watched
        self.takes_list.commands.submit(
            self._on_command,
            self.takes_list.commands,
            watched,
            trigger_mode="multiple",
            concurrency_limit=None,
            **PRIVATE,
        )

    @property
    def _restorable(self) -> list[Any]:
        """The parts of the form that are set anew when a page opens or old settings are used."""
        rest = [self.generate, self.switch, self.duration, self.guidance, self.format, self.cost]
        return [*self._form, *self._answers[4:], *rest]

    def connect_load(self, page: gr.Blocks) -> None:
        """Show choices, jobs and outputs again when a page is opened."""
        page.load(
            self._on_load,
            None,
            [*self._restorable, *self._watched],
            concurrency_limit=None,
            **PRIVATE,
        )

    def _on_load(self, request: gr.Request) -> Iterator[State]:
        actor = caller(request)
        if not actor.may(Permission.GENERATE):
            yield {self.notice: ""}
            return
        restored = self._restored(request)
        # A model may have been fetched since the page was built.
        choices = model_choices(self._catalog.models().values(), self._catalog.unusable())
        restored[self.model] = gr.update(choices=choices, value=restored[self.model])
        yield {self.seed: roll(), **restored}
        yield from self._watch(request)

    def _on_title(self, title: str | None) -> str:
        """The title is looked at as soon as it is left, beside its field."""
        return views.field_note(title_refusal(self._catalog, title))

    # Gradio puts the request in by its position; after it come the values of the form, in order.
    def _on_generate(self, request: gr.Request, *values: Any) -> Iterator[State]:
        form = GenerateForm.of(values)
        refused = title_refusal(self._catalog, form.title)
        if refused is not None:
            yield {
                self.title_note: views.field_note(refused),
                self.notice: views.failure_panel(refused),
            }
            return
        drawn: dict[str, int] = {}

        def work(session: Session) -> Prepared | Release:
            drawn["seed"] = kept(form.seed) if form.locked else roll()
            performs = session.catalog.performs_scores(form.choice.model)
            lines = sheet_text(form.sheet) if performs else None
            asked = session.generation.request(
                form.choice.tags,
                duration_s=None if lines and fixes_form(lines) else form.duration_s,
                sheet=lines,
                seed=drawn["seed"],
                guidance=form.guidance,
                use=form.choice.use,
                territory=form.choice.territory,
                model=form.choice.model,
                format=form.format,
                title=(form.title or "").strip() or None,
                note=(form.note or "").strip() or None,
                human=form.human or (),
            )
            if (
                form.locked
                and form.takes == 1
                and (earlier := session.generation.existing(asked)) is not None
            ):
                return earlier
            return asked, Order.create(asked, min(max(1, int(form.takes)), MOST_TAKES))

        for state in self._make(work, request):
            yield state | ({self.seed: drawn["seed"]} if drawn else {})
            drawn.clear()

    def _on_change(self, change: str | None, parent: str | None, request: gr.Request) -> Any:
        """The leads on offer, where another one can be asked for."""
        if not takes_lead(change):
            return gr.update(visible=False, value="")
        session = session_of(self._gateway, request)
        scope: dict[str, str] = {}
        if parent:
            asked = session.outputs.get(parent).request
            scope = {"model": asked.model, "use": asked.use, "territory": asked.territory}
        statuses = session.catalog.tag_status(**scope)
        return gr.update(visible=True, value="", choices=lead_choices(change, statuses))

    def _on_vary(
        self, parent: str | None, change: str | None, lead: str | None, request: gr.Request
    ) -> Iterator[State]:
        def prepare(session: Session) -> Prepared:
            return self._variation(session, chosen(parent), wish_of(change, lead))

        yield from self._make(prepare, request)

    @staticmethod
    def _variation(session: Session, source: str, wish: Wish) -> Prepared:
        asked = session.outputs.get(source).request
        session.generation.check_variation(source, wish=wish)
        return asked, Order.vary(source, asked, wish)

    def _on_extend(
        self, parent: str | None, seconds: float, request: gr.Request
    ) -> Iterator[State]:
        yield from self._make(
            lambda session: self._extension(session, chosen(parent), seconds), request
        )

    @staticmethod
    def _extension(session: Session, source: str, seconds: float) -> Prepared:
        asked = session.outputs.get(source).request
        return asked, Order.extend(source, asked, seconds)

    def _make(
        self,
        prepare: Callable[[Session], Prepared | Release],
        request: gr.Request,
    ) -> Iterator[State]:
        """Put one request in line, then follow the account's jobs on this page."""
        try:
            session = session_of(self._gateway, request)
            session.require(Permission.GENERATE)
            prepared = prepare(session)
            if isinstance(prepared, tuple):
                asked, order = prepared
                label = views.request_label(asked, order.takes)
                self._making.add(session, label, order, account=payer(request))
        except StudioError as exc:
            yield {self.notice: views.failure_panel(exc)}
            return
        except Exception:  # noqa: BLE001 - the person gets a reference, the log a traceback
            yield {self.notice: views.unexpected_panel(log_failure("generation"))}
            return
        shown = "" if isinstance(prepared, tuple) else views.existing_panel(prepared)
        first = {self.notice: shown, self.title_note: ""}
        yield first
        yield from self._watch(request)

    def _on_command(self, command: Any, request: gr.Request) -> Iterator[State]:
        """What a button of the list asks for: one word and the id it is about."""
        actor = caller(request)
        if not actor.may(Permission.GENERATE) or not isinstance(command, dict):
            return
        word, id_ = next(iter(command.items()), ("", ""))
        if not isinstance(id_, str):
            return
        if word == "cancel":
            self._making.cancel(session_of(self._gateway, request), id_)
        elif word == "dismiss":
            self._making.dismiss(session_of(self._gateway, request), id_)
        elif word == "vary":
            yield from self._make(
                lambda session: self._variation(session, id_, wish_of(None, None)), request
            )
            return
        elif word == "extend":
            seconds = _seconds(command.get("seconds"))
            yield from self._make(lambda session: self._extension(session, id_, seconds), request)
            return
        elif word == "again":
            yield from self._make(lambda session: self._again(session, id_), request)
            return
        # Gradio empties what an event could change if it says nothing, as where a watch goes on.
        yield {self.notice: gr.skip()}
        yield from self._watch(request)

    def _on_settings(self, output_id: Any, request: gr.Request) -> State:
        """The form as it was for an output."""
        try:
            asked = session_of(self._gateway, request).outputs.get(str(output_id)).request
        except StudioError as exc:
            return {self.notice: views.failure_panel(exc)}
        return {**self._settings(asked), self.sheet.text: asked.sheet or ""}

    @staticmethod
    def _again(session: Session, output_id: str) -> Prepared:
        """The request of an output with a new seed; a derived one is varied from its parent."""
        release = session.outputs.get(output_id)
        earlier = release.request
        if earlier.parent is not None:
            return CreateTab._variation(session, earlier.parent, wish_of_release(release))
        asked = replace(earlier, seed=roll())
        return asked, Order.create(asked)

    def _watch(self, request: gr.Request) -> Iterator[State]:
        """The list of jobs and outputs, as long as there is something to see."""
        for board, outputs in self.takes_list.watch(request):
            state: State = {self.takes_list.board: board}
            if outputs is not None:
                state |= {
                    self.further: gr.update(visible=bool(outputs)),
                    self.parent: gr.update(
                        choices=[(each.title, each.release.output_id) for each in outputs],
                        value=outputs[0].release.output_id if outputs else None,
                    ),
                    self.human: gr.update(choices=contributions(has_outputs=bool(outputs))),
                }
            yield state


def _seconds(value: Any) -> float:
    """How long an extension shall be; what is no number asks for nothing, and is refused."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0
