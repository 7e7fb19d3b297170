"""The form of the Create tab: tags, scope, shape, typed texts, and the bar that stays in sight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import gradio as gr

from studio.accounts.permissions import LOCAL_OWNER
from studio.app.gateway import Gateway
from studio.consent import GENERATION_USES
from studio.consent.types import WORLD
from studio.core.config import FORMATS
from studio.core.tags import KINDS
from studio.generation.takes import MOST_TAKES
from studio.generation.validation import HUMAN_CONTRIBUTIONS
from studio.reports.formatting import KIND_TITLES, USE_TITLES, territories
from studio.web.ui.create import view as views
from studio.web.ui.create.further import CHANGES
from studio.web.ui.create.sheet import SheetSection
from studio.web.ui.create.tag_choices import chip_choices, first_usable, objection
from studio.web.ui.templating import draw, heading

if TYPE_CHECKING:
    from studio.music.models.config import ModelConfig

__all__ = ["CreateForm", "contributions", "model_choices"]


class CreateForm:
    """The components of the form, to be placed by :class:`~studio.web.ui.create.tab.CreateTab`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._config = gateway.config.generation
        # What everyone who sees the page may see.
        self._catalog = gateway.session(LOCAL_OWNER).catalog

    def build_tags(self) -> None:
        statuses = self._catalog.tag_status()
        with gr.Column(elem_classes="section", elem_id="tags"):
            gr.HTML(
                heading(
                    "What should it sound like?",
                    "One tag of each kind at most. Dashed tags cannot be used for what is chosen "
                    "below; pick one to see why.",
                )
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

    def build_scope(self) -> None:
        defaults = self._config
        models = self._catalog.models()
        with gr.Column(elem_classes="section"):
            gr.HTML(heading("What is it for?", "Consent depends on it, so be exact."))
            self.use = gr.Radio(
                choices=[(USE_TITLES[use], str(use)) for use in GENERATION_USES],
                value=defaults.use,
                label="Intended use",
                elem_classes=["chips", "scope-use"],
            )
            with gr.Row():
                self.territory = gr.Dropdown(
                    choices=[
                        (name if code == WORLD else f"{name} ({code})", code)
                        for code, name in territories().items()
                    ],
                    value=defaults.territory,
                    label="Territory",
                    min_width=150,
                )
                self.model = gr.Dropdown(
                    choices=model_choices(models.values(), self._catalog.unusable()),
                    value=defaults.model,
                    label="Model",
                    min_width=150,
                )
            self.model_panel = gr.HTML(views.model_panel(models[defaults.model]))

    def build_shape(self) -> None:
        defaults = self._config
        with gr.Column(elem_classes="section"):
            gr.HTML(
                heading("Length and file", "A longer clip is easier to recognise after processing.")
            )
            with gr.Row(elem_classes="sliders"):
                self.duration = gr.Slider(
                    minimum=defaults.min_duration_s,
                    maximum=defaults.max_duration_s,
                    value=defaults.duration_s,
                    step=1,
                    label="Duration",
                    info="Seconds of music",
                    elem_id="duration",
                    buttons=[],
                    min_width=200,
                )
                self.guidance = gr.Slider(
                    minimum=1.0,
                    maximum=10.0,
                    value=self._catalog.models()[defaults.model].guidance,
                    step=0.5,
                    label="Guidance",
                    info="Weight of the tags",
                    buttons=[],
                    min_width=200,
                    visible=not self._catalog.performs_scores(defaults.model),
                )
            self.takes = gr.Radio(
                choices=[(str(number), number) for number in range(1, MOST_TAKES + 1)],
                value=1,
                label="Takes",
                info="Pieces of the same choices, each with a seed of its own",
                elem_classes="chips",
            )
            self.format = gr.Radio(
                choices=[(name.upper(), name) for name in FORMATS],
                value=defaults.format,
                label="File format",
                elem_classes="chips",
            )

    def build_sheet(self) -> None:
        model = self._config.model
        self.sheet = SheetSection(visible=self._catalog.performs_scores(model))

    def build_typed(self) -> None:
        with gr.Accordion(
            "Title, note, what people contribute", open=False, elem_classes="section"
        ):
            self.title = gr.Textbox(
                label="Title",
                info="Made from the tags if you leave it empty. Names of artists are refused",
                max_lines=1,
                max_length=120,
            )
            self.title_note = gr.HTML()
            self.note = gr.Textbox(
                label="Note", info="For your own record", max_lines=3, max_length=500
            )
            self.human = gr.CheckboxGroup(
                choices=contributions(has_outputs=False),
                label="What people contribute",
                info="Stated in the AI disclosure of the output",
            )

    def build_further(self) -> None:
        """Going on from an output; shown as soon as there is one."""
        with gr.Column(elem_classes="section", visible=False) as self.further:
            gr.HTML(
                heading(
                    "Go on from an output",
                    "Consent is asked anew for its tags, and the record names the parent.",
                )
            )
            self.parent = gr.Dropdown(choices=[], label="Output")
            self.change = gr.Dropdown(
                choices=list(CHANGES),
                value=CHANGES[0][1],
                label="What changes",
                info="In a variation; all but the first are for music of the house model",
            )
            self.other_lead = gr.Dropdown(
                choices=[("", "")], value="", label="Another lead", visible=False
            )
            self.vary = gr.Button("Vary", size="md", min_width=100, elem_id="vary")
            self.seconds = gr.Slider(
                minimum=1,
                maximum=30,
                value=10,
                step=1,
                label="Extend by",
                info="Seconds more",
                buttons=[],
            )
            self.extend = gr.Button("Extend", size="md", min_width=100, elem_id="extend")

    def build_bar(self) -> None:
        """What stays in sight: seed, what is going on, and the button."""
        with gr.Row(elem_id="bar", equal_height=False):
            self.generate = gr.Button(
                "Generate", variant="primary", size="lg", min_width=120, scale=0, elem_id="generate"
            )
            self.seed = gr.Number(
                precision=0, label="Seed", elem_id="seed", min_width=120, scale=0, container=True
            )
            self.lock = gr.Checkbox(
                label="Keep this seed", elem_id="lock", min_width=120, scale=0, container=False
            )
            with gr.Column(min_width=160, scale=1, elem_id="bar-words"):
                gr.HTML(draw("create/board.html", "bar_state"))
                self.cost = gr.HTML()


def model_choices(
    models: Iterable[ModelConfig], unusable: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Models by title, those that are not on this machine last and named so."""
    ordered = sorted(models, key=lambda model: model.id in unusable)
    return [
        (f"{model.title}{NOT_HERE if model.id in unusable else ''}", model.id) for model in ordered
    ]


NOT_HERE = " – not on this machine"


def contributions(*, has_outputs: bool) -> list[tuple[str, str]]:
    """What people may say they contribute; choosing among outputs takes outputs to choose from."""
    return [
        (f"{part}: {meaning}", part)
        for part, meaning in HUMAN_CONTRIBUTIONS.items()
        if part != "direction"  # holds for every output
        and (has_outputs or part != "selection")
    ]
