"""Tells genre, mood, lead and tempo from ten seconds of sound: the judge of tag following.

Trained on the composer's music as the soundfont plays it, never on generated music; its own
accuracy on other renders is part of every report, because a judge that errs bounds what it can
find. It sees the statistics of :mod:`studio.music.training.evaluation.judge_features` through one
hidden layer. The activations of its narrow layer are the features of the Fréchet distance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studio.core.errors import CheckpointError, HouseError
from studio.core.tags import KINDS
from studio.music.models.house.notes import RATE
from studio.music.training.evaluation.judge_clips import middle_and_side, picture
from studio.music.training.evaluation.judge_features import LEAST_S, features
from watermark.audio.waveform import Waveform
from watermark.util.files import write_file

__all__ = ["JUDGE_WEIGHTS", "TagClassifier", "heard"]

JUDGE_WEIGHTS = Path(__file__).resolve().parent / "weights" / "judge.safetensors"
"""The judge that evaluations use; its card lies beside it."""

Array = NDArray[np.float32]
Labelled = tuple[Array, Sequence[Sequence[str]]]
"""Features (clips, features), and the tags of each clip, one of every kind."""

_LIMIT = 6.0  # deviations beyond which a feature says no more
_BATCH = 64


def heard(clips: Sequence[Waveform]) -> Array:
    """Features of clips of any rate, mono or stereo, (clips, features).

    Raises :class:`HouseError` for a clip shorter than four seconds.
    """
    rows = []
    for clip in clips:
        if clip.duration_s < LEAST_S:
            raise HouseError("a clip must be at least four seconds long to be judged")
        rows.append(features(picture(middle_and_side(clip.resample(RATE).samples))))
    return np.stack(rows)


class TagClassifier:
    """One small network over :func:`heard`; the same data give the same judge."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.names = {kind: [t for t in tags if t.startswith(kind + "/")] for kind in KINDS}
        self._network: _Network | None = None
        self._mean = self._scale = np.zeros(0, np.float32)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that it tells apart."""
        return tuple(tag for names in self.names.values() for tag in names)

    def fit(
        self, sounds: Labelled, drawn: Labelled | None = None, *, epochs: int = 60, seed: int = 0
    ) -> None:
        """Train on the features of `sounds`, and on those of `drawn` pictures beside them.

        Each set is brought to mean 0 and deviation 1 by itself, since pictures put together of
        notes differ from sounds in the same way throughout; what is judged is taken as a sound.
        """
        self._mean, self._scale = _moments(sounds[0])
        inputs, wanted = [self._input(sounds[0])], [self._labels(t) for t in sounds[1]]
        if drawn is not None:
            inputs.append(_scaled(drawn[0], *_moments(drawn[0])))
            wanted += [self._labels(t) for t in drawn[1]]
        x, y = torch.cat(inputs), torch.tensor(wanted)
        steps = epochs * -(-len(x) // _BATCH)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(x.shape[1], [len(self.names[kind]) for kind in KINDS])
            optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
            for _ in range(epochs):
                for rows in torch.split(torch.randperm(len(x)), _BATCH):
                    noisy = x[rows] + 0.1 * torch.randn(len(rows), x.shape[1])
                    loss = sum(
                        nn.functional.cross_entropy(output, y[rows, k], label_smoothing=0.05)
                        for k, output in enumerate(network(noisy))
                    )
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[union-attr]  # a sum of four tensors
                    optimizer.step()
                    schedule.step()
        self._network = network.eval()

    @torch.no_grad()
    def embed(self, sounds: Array) -> Array:
        """Activations of the narrow layer, (clips, 64): features of the Fréchet distance."""
        out: Array = self._trained().shared(self._input(sounds)).numpy()
        return out

    @torch.no_grad()
    def predict(self, sounds: Array) -> list[dict[str, str]]:
        """The likeliest tag of each kind for every clip."""
        outputs = self._trained()(self._input(sounds))
        picks = [output.argmax(1).tolist() for output in outputs]
        return [
            {kind: self.names[kind][picks[k][row]] for k, kind in enumerate(KINDS)}
            for row in range(len(sounds))
        ]

    def right(self, sounds: Array, tags: Sequence[Sequence[str]]) -> dict[str, float]:
        """Share of clips whose tag is heard, for each kind."""
        pairs = list(zip(self.predict(sounds), tags, strict=True))
        return {
            kind: float(np.mean([row[kind] in asked for row, asked in pairs])) for kind in KINDS
        }

    # Files ------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the weights (fp16) as one safetensors file."""
        from safetensors.torch import save

        tensors = {name: value.half() for name, value in self._trained().state_dict().items()}
        tensors["input.mean"] = torch.from_numpy(self._mean)
        tensors["input.scale"] = torch.from_numpy(self._scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, save(tensors, {"tags": json.dumps(self.tags)}), mode=None)

    @classmethod
    def load(cls, path: Path = JUDGE_WEIGHTS) -> TagClassifier:
        """Read a file of :meth:`save`. Raises :class:`CheckpointError`."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                judge = cls(json.loads((file.metadata() or {})["tags"]))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            judge._mean = state.pop("input.mean").numpy()
            judge._scale = state.pop("input.scale").numpy()
            counts = [len(judge.names[kind]) for kind in KINDS]
            network = _Network(len(judge._mean), counts)
            network.load_state_dict({name: value.float() for name, value in state.items()})
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as exc:
            raise CheckpointError(f"cannot read the judge {path}: {exc}") from exc
        judge._network = network.eval()
        return judge

    def _input(self, sounds: Array) -> Tensor:
        return _scaled(sounds, self._mean, self._scale)

    def _trained(self) -> _Network:
        if self._network is None:
            raise HouseError("the tag classifier has not been trained")
        return self._network

    def _labels(self, tags: Sequence[str]) -> list[int]:
        of_kind = {tag.partition("/")[0]: tag for tag in tags}
        return [self.names[kind].index(of_kind[kind]) for kind in KINDS]


def _moments(rows: Array) -> tuple[Array, Array]:
    return rows.mean(0), rows.std(0) + np.float32(1e-3)


def _scaled(rows: Array, mean: Array, scale: Array) -> Tensor:
    return torch.from_numpy(np.clip((rows - mean) / scale, -_LIMIT, _LIMIT)).float()


class _Network(nn.Module):
    def __init__(self, inputs: int, classes: Sequence[int]) -> None:
        super().__init__()
        self.wide = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(inputs, 256), nn.GELU(), nn.Dropout(0.4)
        )
        self.narrow = nn.Sequential(nn.Linear(256, 64), nn.GELU())
        self.heads = nn.ModuleList(nn.Linear(256 + 64, count) for count in classes)

    def shared(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.narrow(self.wide(x))
        return hidden

    def forward(self, x: Tensor) -> list[Any]:
        wide = self.wide(x)
        hidden = torch.cat([wide, self.narrow(wide)], 1)
        return [head(hidden) for head in self.heads]
