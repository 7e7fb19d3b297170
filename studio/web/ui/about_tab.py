"""The Models and limits tab: licences, training data, reading a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import gradio as gr

from studio.reports.formatting import USE_TITLES
from studio.reports.verification.view import reading_table
from studio.web.ui.templating import draw

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import Catalog
    from studio.music.models.config import ModelConfig

__all__ = ["build_about", "model_rows"]


def build_about(catalog: Catalog) -> None:
    """Build the tab inside the current ``gr.Blocks``."""
    gr.HTML(draw("about.html", "models", model_rows(catalog.models().values())))
    gr.HTML(draw("about.html", "verdicts", reading_table()))
    gr.HTML(draw("about.html", "limits"))


def model_rows(
    models: Iterable[ModelConfig],
) -> list[tuple[tuple[str, str, str], list[ModelConfig]]]:
    """Licence, uses it permits and training basis, with the models that share them."""
    alike: dict[tuple[str, str, str], list[ModelConfig]] = {}
    for model in models:
        uses = ", ".join(use for use in USE_TITLES if use in model.licence_uses)
        alike.setdefault((model.licence, uses, model.training_basis), []).append(model)
    return list(alike.items())
