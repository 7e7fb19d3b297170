"""Pages of the public detector: templates with autoescape, no script, no cookie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi.responses import HTMLResponse, Response

from studio.app.examination.public_detection import SYSTEM, Grade, PublicAnswer, Reason
from studio.reports.formatting import clock, territory_name

if TYPE_CHECKING:
    from jinja2 import Environment

    from studio.core.config import PublicDetectorConfig

__all__ = ["GRADES", "PAGE_POLICY", "REASONS", "GradeText", "Pages", "public_page", "sheet"]

PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_ANSWERED = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}


@dataclass(frozen=True, slots=True)
class GradeText:
    """How a grade is told."""

    headline: str
    means: str
    means_not: str


GRADES = {
    Grade.OURS: GradeText(
        "Made with this studio",
        "This recording, or the part of it named below, carries a watermark of this studio, and "
        "its sound is that of a piece made here.",
        "It does not say who published the recording, nor whether that use is permitted.",
    ),
    Grade.NOTHING_FOUND: GradeText(
        "Nothing of this studio was found",
        "No watermark of this studio was found, and the sound is of no piece made here.",
        "It does not say that a person made this music, and not that no machine did: other systems "
        "leave no mark that is read here, and a watermark can be destroyed.",
    ),
    Grade.CANNOT_SAY: GradeText(
        "This recording cannot be judged",
        "There is no answer that we could stand for.",
        "It is no finding against anybody.",
    ),
}

REASONS = {
    Reason.EVIDENCE: "Something in it resembles what is made here, but it is not enough for an "
    "answer. A longer, less processed copy may give one.",
    Reason.UNREADABLE: "The file could not be read as sound. Try a WAV, FLAC, MP3, M4A, Ogg or "
    "Opus file.",
    Reason.TOO_LONG: "The recording is too long for this page. Cut out the part you are asking "
    "about.",
    Reason.FORMAT: "The recording has more channels, or another sample rate, than this page takes. "
    "Try a stereo file at 44.1 or 48 kHz.",
    Reason.TOO_SHORT: "The recording is too short. Three seconds are the least; ten are better.",
    Reason.TOO_QUIET: "The recording is silent, or nearly so.",
}


class Pages:
    """Renders the pages of one studio."""

    def __init__(self, config: PublicDetectorConfig) -> None:
        self._config = config

    def form(self) -> HTMLResponse:
        """The form alone, which search engines may list."""
        return self._page("form.html", {"Cache-Control": "no-cache"})

    def answer(self, answer: PublicAnswer) -> HTMLResponse:
        """The answer about a file, and the form for another."""
        return self._page(
            "answer.html",
            _ANSWERED,
            answer=answer,
            text=GRADES[answer.grade],
            why=None if answer.reason is None else REASONS[answer.reason],
            provenance=answer.provenance(),
        )

    def refusal(self, why: str, status: int, retry_after_s: int | None) -> HTMLResponse:
        """Why there is no answer, and when to come back."""
        headers = dict(_ANSWERED)
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
        page = self._page("refusal.html", headers, why=why, retry_after_s=retry_after_s)
        page.status_code = status
        return page

    def about(self) -> dict[str, str | None]:
        """Who answers and how to complain, for the JSON of the API."""
        return {"provider": self._config.provider, "complaints": self._config.contact}

    def _page(self, template: str, headers: dict[str, str], **values: object) -> HTMLResponse:
        html = public_page(template, system=SYSTEM, config=self._config, **values)
        return HTMLResponse(html, headers={**headers, "Content-Security-Policy": PAGE_POLICY})


def public_page(template: str, **values: object) -> str:
    """A page without scripts from one of the templates of this package."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("studio.web.public"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = _clock
    environment.filters["territory"] = territory_name
    return environment


def sheet(further: str = "") -> Response:
    """The style sheet of pages without scripts."""
    text = (files("studio.web.public") / "style.css").read_text(encoding="utf-8")
    return Response(
        text + further, media_type="text/css", headers={"Cache-Control": "max-age=3600"}
    )


def _clock(seconds: int) -> str:
    """A place in whole seconds.

    >>> _clock(75)
    '1:15'
    """
    return clock(seconds).removesuffix(".0")
