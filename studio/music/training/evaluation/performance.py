"""Measures the third design on fresh requests, each beside the composer's own render.

Reference and performance share the score, so they can be compared note by note and band by band.
The reference is the soundfont's render of the same stems through the same mastering.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from studio.core.errors import UnknownTagError
from studio.music.composer.arrange import compose_score
from studio.music.models.house.notes import RATE
from studio.music.models.house.performer import HousePerformer, Performance
from studio.music.models.house.token_stream import Drawing
from studio.music.training.evaluation.beside import (
    FreshRequest,
    Pair,
    compare,
    expected_of_score,
    fresh_requests,
)
from studio.music.training.evaluation.classifier import TagClassifier
from studio.music.training.evaluation.copying import Played, copied
from studio.music.training.evaluation.judge_clips import reference as rendered
from studio.music.training.evaluation.judging import heard_as_asked
from studio.music.training.evaluation.report import Check, Report
from studio.music.training.stems.rendering import StemRenderer
from watermark.audio.waveform import Waveform

_JUDGED = {"genre": 0.95, "mood": 0.8, "lead": 0.8, "tempo": 0.98}

__all__ = ["PerformanceEvaluation", "evaluate_performer"]


@dataclass(frozen=True, slots=True)
class PerformanceEvaluation:
    """How much is measured.

    `tags` limits the requests, `genres` names a few; `how` None draws as the card says.

    `judged` False leaves out the judge of genre, mood, lead and tempo. Copying is measured where
    `tracks` is the folder of the encoded training tracks.
    """

    per_genre: int = 6
    seed: int = 20261129
    seconds: float = 10.0
    tags: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()
    how: Drawing | None = None
    judged: bool = True
    tracks: Path | None = None


def evaluate_performer(
    weights: Path,
    options: PerformanceEvaluation,
    *,
    progress: Callable[[str], None] | None = None,
    keep: Path | None = None,
) -> Report:
    """Perform fresh requests; `keep` is a folder for clips and references as WAV.

    Raises :class:`HouseError` (FluidSynth is missing) or :class:`CheckpointError`.
    """
    say = progress or (lambda _text: None)
    model = HousePerformer.load(weights)
    tags = _asked(options.tags or model.tags, options.genres)
    requests = fresh_requests(tags, per_genre=options.per_genre, seed=options.seed)
    played: list[Pair] = []
    tokens: list[Played] = []
    plain: list[Pair] = []
    spent = 0.0
    with StemRenderer() as renderer:
        for number, request in enumerate(requests):
            score = compose_score(request.tags, request.seed, options.seconds)
            reference = Waveform(rendered(score, renderer), RATE)
            expected = expected_of_score(score, options.seconds)
            began = time.process_time()
            take = model.perform([(score, request.seed)], how=options.how)[0]
            spent += time.process_time() - began
            tokens.append((take.tokens, score))
            played.append(Pair(take.mix, reference, expected, take.tokens.T))
            plain.append(Pair(model.as_written(score).mix, reference, expected))
            if keep is not None:
                _keep(keep, number, request, take, reference)
            say(f"{number + 1} of {len(requests)}")
    report = Report()
    how = options.how or model.drawing
    report.data["data"] = {
        "weights": model.digest,
        "requests": len(requests),
        "seconds": options.seconds,
        "temperature": how.temperature,
        "top_k": how.top_k,
    }
    report.data["sound"] = compare(played)
    report.data["score alone, no tokens"] = compare(plain)
    if options.judged:
        judge = TagClassifier.load()
        report.data["heard as asked for"] = heard_as_asked(
            judge, requests, [pair.made for pair in played], [pair.reference for pair in played]
        )
    if options.tracks is not None:
        report.data["runs of 0.5 s that training holds"] = copied(tokens, options.tracks)
    ten = 10.0 / options.seconds / len(requests)
    report.data["speed"] = {"processor_s_for_10_s": spent * ten, "threads": torch.get_num_threads()}
    report.checks.extend(_checks(report.data))
    return report


def _asked(tags: Sequence[str], genres: Sequence[str]) -> tuple[str, ...]:
    """The tags with the named genres alone. Raises :class:`UnknownTagError` for an unknown one."""
    wanted = {f"genre/{name}" for name in genres}
    for tag in sorted(wanted - set(tags)):
        raise UnknownTagError(tag)
    return tuple(t for t in tags if not wanted or t in wanted or not t.startswith("genre/"))


def _checks(data: dict[str, Any]) -> list[Check]:
    sound = data["sound"]
    heard = data.get("heard as asked for", {})
    made, render = sound["generated"], sound["composer's render"]
    runs = data.get("runs of 0.5 s that training holds")
    return [
        Check("clips that drone", made["drone_rate"], round(render["drone_rate"] + 0.02, 4),
              at_least=False),
        Check("chord of the sheet is heard", made["chord_agreement"] or 0.0, 0.85),
        Check("noise between partials", made["valley_to_peak_db"],
              round(render["valley_to_peak_db"] + 2, 2), "dB", False),
        Check("log-mel error against the render", sound["log_mel_error_db"], 4.0, "dB", False),
        Check("processor time for 10 s", data["speed"]["processor_s_for_10_s"], 3.0, "s", False),
        *(
            Check(f"{kind} judged right", heard[kind]["performance"], share)
            for kind, share in _JUDGED.items()
            if kind in heard
        ),
        *(
            [Check("runs copied from training", runs["all"]["performance"], 0.001, "", False)]
            if runs
            else []
        ),
    ]  # fmt: skip


def _keep(
    folder: Path, number: int, request: FreshRequest, take: Performance, reference: Waveform
) -> None:
    from watermark.audio.waveform import write

    folder.mkdir(parents=True, exist_ok=True)
    name = "_".join(tag.partition("/")[2] for tag in request.tags)
    write(folder / f"{number:03d}_{name}.wav", take.mix)
    write(folder / f"{number:03d}_{name}.render.wav", reference)
