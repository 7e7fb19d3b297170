"""What the choice of tags, use, territory and model decides on the Create tab.

The tab shows the policy's answer while a person chooses; the use case decides again at every
request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.core.tags import KINDS
from studio.web.jobs.examinations import owner_key
from studio.web.ui.callers import caller, session_of
from studio.web.ui.create import view as views
from studio.web.ui.create.form import CreateForm
from studio.web.ui.create.inputs import Choice
from studio.web.ui.create.tag_choices import chip_choices, objection

if TYPE_CHECKING:
    from studio.app.gateway import Gateway
    from studio.music.models.config import ModelConfig
    from studio.provenance.release import GenerationRequest
    from studio.web.jobs.making import PageJobs

__all__ = ["ScopeEvents", "State"]

State = dict[Any, Any]  # component -> update, as Gradio wants it


class ScopeEvents(CreateForm):
    """The form, and what it answers while a person chooses."""

    def __init__(self, gateway: Gateway, making: PageJobs) -> None:
        super().__init__(gateway)
        self._making = making
        self._drafts: dict[str, Choice] = {}  # by account

    def build_answer(self) -> None:
        """Consent for the choice, and the button to a model that may be used."""
        self.consent = gr.HTML()
        self.switch = gr.Button("", visible=False, size="md")

    @property
    def _form(self) -> list[Any]:
        """Tags and scope."""
        return [*self.chips.values(), self.use, self.territory, self.model]

    @property
    def _answers(self) -> list[Any]:
        """What tags and scope decide."""
        return [*self.chips.values(), self.chip_style, self.grants, self.model_panel, self.consent]

    def _restored(self, request: gr.Request) -> State:
        """The form as the account left it: what it chose last, or asked for last."""
        latest = next(iter(session_of(self._gateway, request).outputs.mine(1)), None)
        asked = None if latest is None else latest.request
        draft = self._drafts.get(owner_key(caller(request)))
        if asked is not None and (draft is None or draft.model == asked.model):
            return self._settings(asked, draft)
        choice = draft or Choice(*(part.value for part in self._form))
        return {
            **dict(zip(self._form, choice, strict=True)),
            **self._scope_state(choice, restoring=True),
            self.guidance: self._guidance(choice.model),
            self.cost: self._on_cost(self.duration.value, choice.model),
        }

    def _settings(self, asked: GenerationRequest, choice: Choice | None = None) -> State:
        """The form as it was for a request; ``choice``: other tags and scope than it asked for."""
        if choice is None:
            model = asked.model
            if model not in self._catalog.models():
                model = self._config.model
            tags = {tag.partition("/")[0]: tag for tag in asked.tags}
            picked = {kind: tags.get(kind, "") for kind in KINDS}
            choice = Choice(**picked, use=asked.use, territory=asked.territory, model=model)
        model = choice.model
        state: State = {
            **dict(zip(self._form, choice, strict=True)),
            **self._scope_state(choice, restoring=True),
        }
        duration = self.duration.value
        if asked.parent is None:
            duration = asked.duration_s
            state |= {self.duration: duration, self.format: asked.format}
        given = asked.guidance if asked.model == model else None
        return {
            **state,
            self.guidance: self._guidance(model, given),
            self.cost: self._on_cost(duration, model),
        }

    # Gradio puts the request in by its position; after it come the values of `_form`, in its order.

    def _on_choice(self, request: gr.Request, *form: str) -> State:
        return self._choice_state(self._noted(request, Choice(*form)))

    def _noted(self, request: gr.Request, choice: Choice) -> Choice:
        self._drafts[owner_key(caller(request))] = choice
        return choice

    def _choice_state(self, choice: Choice) -> State:
        tags, use, territory, model = choice.tags, choice.use, choice.territory, choice.model
        chosen, panel = self._catalog.models()[model], None
        if use not in chosen.licence_uses:
            panel = views.licence_panel(chosen, use)
        elif why := self._catalog.unusable().get(model):
            panel = views.absent_panel(chosen, why)
        if panel is not None:
            other = self._permitted(use)
            return {
                self.consent: panel,
                self.generate: gr.update(interactive=False),
                self.switch: gr.update(
                    visible=other is not None,
                    value="" if other is None else f"Use {other.title} instead",
                ),
            }
        decision = self._catalog.decide(tags, use=use, territory=territory, model=model)
        statuses = self._catalog.tag_status(model=model, use=use, territory=territory)
        known = {status.tag.id for status in statuses if status.known_to_model}
        return {
            self.consent: views.consent_panel(decision, [tag for tag in tags if tag not in known]),
            self.generate: gr.update(interactive=bool(tags)),
            self.switch: gr.update(visible=False),
        }

    def _permitted(self, use: str) -> ModelConfig | None:
        """A model that is here and whose licence permits the use, the default one first."""
        models, unusable = self._catalog.models(), self._catalog.unusable()
        ordered = (models[self._config.model], *models.values())
        fit = (m for m in ordered if use in m.licence_uses and m.id not in unusable)
        return next(fit, None)

    def _on_switch(self, request: gr.Request, duration: float | None, *form: str) -> State:
        """To a model whose licence permits the use."""
        choice = Choice(*form)
        other = self._permitted(choice.use)
        if other is None:
            return {self.switch: gr.update(visible=False)}
        state = self._model_state(request, duration, choice._replace(model=other.id))
        return {self.model: other.id, **state}

    def _on_scope(self, request: gr.Request, *form: str) -> State:
        return self._scope_state(self._noted(request, Choice(*form)))

    def _on_model(self, request: gr.Request, duration: float | None, *form: str) -> State:
        return self._model_state(request, duration, Choice(*form))

    def _model_state(self, request: gr.Request, duration: float | None, choice: Choice) -> State:
        self._noted(request, choice)
        return {
            **self._scope_state(choice),
            self.guidance: self._guidance(choice.model),
            self.sheet.section: gr.update(visible=self._catalog.performs_scores(choice.model)),
            self.cost: self._on_cost(duration, choice.model),
        }

    def _scope_state(self, choice: Choice, *, restoring: bool = False) -> State:
        """What tags and scope decide; which tags are picked changes only in `restoring` them.

        A click that comes while the answer is on its way must stand.
        """
        use, territory, model = choice.use, choice.territory, choice.model
        statuses = self._catalog.tag_status(model=model, use=use, territory=territory)
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
            self.model_panel: views.model_panel(self._catalog.models()[model]),
            **self._choice_state(choice),
        }

    def _guidance(self, model: str, value: float | None = None) -> Any:
        """The slider as the model takes it: what performs scores has none."""
        return gr.update(
            value=self._catalog.models()[model].guidance if value is None else value,
            visible=not self._catalog.performs_scores(model),
        )

    def _on_cost(self, duration: float | None, model: str) -> str:
        expected = self._making.expected_s(model, float(duration or 0))
        return views.cost_line(expected, duration)
