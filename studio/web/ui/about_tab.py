"""The Models and limits tab: licences and training bases, how to read a verdict, limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import gradio as gr

from studio.reports.formatting import USE_TITLES, esc
from studio.reports.verification.view import reading_table

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import Catalog
    from studio.music.models.config import ModelConfig

__all__ = ["build_about", "model_table"]

_LIMITS = (
    "A seal can be lost: very short clips, silence, heavy processing. <b>Not detected</b> is not "
    "evidence that a person made something.",
    "A seal can be copied onto other audio. That is why a verdict of <b>sealed</b> also asks "
    "whether the content agrees with the record.",
    "The desk knows the outputs of this studio only. It is no detector of generated music at "
    "large.",
    "Consent for a style tag permits making music in that style here. It says nothing about what a "
    "model was trained on; the table above does.",
    "The studio takes tags only, never free text, so nobody can ask for a named artist's style "
    "unless that artist granted it as a tag.",
)


def build_about(catalog: Catalog) -> None:
    """Build the tab inside the current ``gr.Blocks``."""
    gr.HTML(
        '<section class="card"><h2>Models</h2><p class="soft small">Consent for a style tag is not '
        "consent for training. Each model says what it learned from, and its licence limits what "
        f"you may do with its music.</p>{model_table(catalog.models().values())}</section>"
    )
    gr.HTML(
        '<section class="card"><h2>How to read a verdict</h2><p class="soft small">A verdict is '
        "worded no further than its evidence.</p>"
        f"{reading_table()}</section>"
    )
    limits = "".join(f"<li>{limit}</li>" for limit in _LIMITS)
    gr.HTML(f'<section class="card"><h2>Limits</h2><ul>{limits}</ul></section>')


def model_table(models: Iterable[ModelConfig]) -> str:
    """Every configured model; those that share licence and training basis share a row."""
    alike: dict[tuple[str, str, str], list[ModelConfig]] = {}
    for model in models:
        uses = ", ".join(use for use in USE_TITLES if use in model.licence_uses)
        alike.setdefault((model.licence, uses, model.training_basis), []).append(model)
    rows = "".join(
        f'<tr><th scope="row">{"".join(f"<div>{esc(model.title)}</div>" for model in group)}</th>'
        f"<td>{esc(licence)}</td><td>{esc(uses)}</td><td>{esc(basis)}</td></tr>"
        for (licence, uses, basis), group in alike.items()
    )
    return (
        '<div class="table-scroll"><table class="plain"><thead><tr><th scope="col">Model</th>'
        '<th scope="col">Licence</th><th scope="col">Uses it permits</th>'
        f'<th scope="col">Trained on</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
