"""The stem codec: a score and a few tokens a frame in, four stems out, and back.

For every stem the codec works in four steps, all at 50 frames a second:

1. :mod:`~studio.music.models.house.excitation` plays the score from instrument tables;
2. the **predictor** says from score and excitation what the stem's envelope (80 log-mel bands)
   will be;
3. the **tokens** (2 codebooks of 512) tell what the performance adds to that prediction. A token
   drawn wrongly therefore moves the sound a little and never takes it elsewhere;
4. the **decoder** turns the envelope into gains of 64 bands, three times a frame, on the tonal and
   on the noise signal of the excitation.

Everything that decides about a sample lies within :data:`CONTEXT` frames of it, so that a window
decoded with that context equals the whole. The published relatives are DDSP (arXiv:2001.04643) and
neural source-filter models (arXiv:1904.12088).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from studio.core.errors import ConfigError
from studio.music.models.house.excitation import Excitation, InstrumentTables
from studio.music.models.house.mastering import gated_frames
from studio.music.models.house.notes import (
    FRAME,
    RATE,
    STEMS,
    ScoreFeatures,
    TimedScore,
    score_features,
)
from studio.music.models.house.stem_networks import (
    CONTEXT,
    HOP,
    LOOK_AHEAD,
    Conditions,
    GainDecoder,
    Predictor,
    ResidualDecoder,
    ResidualEncoder,
    StemCodecConfig,
)
from watermark.util.files import write_file

__all__ = [
    "CONTEXT",
    "LOOK_AHEAD",
    "Conditions",
    "StemCodec",
    "StemCodecConfig",
    "envelope",
    "mel_matrix",
]

SILENCE = 1e-5
"""Amplitude that is added before logarithms: -100 dB."""

_COHERENCE = 10 ** (-0.75 / 20)
"""Voices are not quite independent: renders are 0.75 dB softer than their powers' sum (spread 0.4
dB, 12 pieces)."""

_WINDOW = 2048  # samples an envelope frame sees
_LONGEST = 500  # frames that are decoded at a time; more memory gains nothing
_FFT = 1024


class StemCodec(nn.Module):
    """Encodes stems to tokens and decodes tokens to stems, both beside their score.

    Tokens are (4 stems, 2 codebooks, frames), int64, 0 to 511.
    """

    codebooks: Tensor
    mel: Tensor
    spread: Tensor
    window: Tensor
    long_window: Tensor

    def __init__(self, config: StemCodecConfig, tables: InstrumentTables) -> None:
        super().__init__()
        self.config = config
        self.excitation = Excitation(tables)
        self.predictor = Predictor(config)
        self.encoder = ResidualEncoder(config)
        self.residual = ResidualDecoder(config)
        self.decoder = GainDecoder(config)
        shape = (len(STEMS), config.codebooks, config.bins, config.latent_dim)
        self.register_buffer("codebooks", torch.zeros(shape))
        spread = mel_matrix(_FFT, config.gain_bands)
        spread = spread / spread.sum(1, keepdim=True).clamp_min(1e-6)
        below = spread.sum(1) < 0.5
        spread[below] = 0
        spread[below & (torch.arange(len(spread)) < _FFT // 4), 0] = 1
        spread[below & (torch.arange(len(spread)) >= _FFT // 4), -1] = 1
        self.register_buffer("mel", mel_matrix(_WINDOW, config.bands), persistent=False)
        self.register_buffer("spread", spread.T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.register_buffer("long_window", torch.hann_window(_WINDOW), persistent=False)

    # Networks, on batches of stems ------------------------------------------------------------

    def envelope(self, signal: Tensor) -> Tensor:
        """Natural log of levels in mel bands, (batch, samples) -> (batch, frames, bands)."""
        return envelope(signal, self.mel, self.long_window)

    def predict(self, c: Conditions) -> tuple[Tensor, Tensor]:
        """Hidden state and expected envelope, both (batch, frames, ...)."""
        hidden, level = self.predictor(c)
        return hidden, level

    def quantize(self, latent: Tensor, stem: Tensor) -> Tensor:
        """Nearest codes, (batch, frames, latent_dim) -> (batch, codebooks, frames)."""
        rest, out = latent, []
        for k in range(self.config.codebooks):
            book = self.codebooks[stem, k]  # (batch, bins, latent_dim)
            score = rest @ book.transpose(1, 2) - 0.5 * book.square().sum(-1)[:, None]
            chosen = score.argmax(-1)
            out.append(chosen)
            rest = rest - self.dequantize_one(chosen, stem, k)
        return torch.stack(out, 1)

    def dequantize(self, tokens: Tensor, stem: Tensor) -> Tensor:
        """Latents of codes, (batch, codebooks, frames) -> (batch, frames, latent_dim)."""
        parts = [self.dequantize_one(tokens[:, k], stem, k) for k in range(self.config.codebooks)]
        return torch.stack(parts).sum(0)

    def dequantize_one(self, chosen: Tensor, stem: Tensor, k: int) -> Tensor:
        """Latents of codebook `k`, (batch, frames) -> (batch, frames, latent_dim)."""
        return self.codebooks[stem[:, None], k, chosen]

    def filter(self, gains: Tensor, signals: Tensor) -> Tensor:
        """Band gains on tonal and noise signals.

        `gains` (batch, 3 * frames, 2, bands), `signals` (batch, 2, samples) -> (batch, samples).
        """
        batch, _, samples = signals.shape
        spectrum = torch.stft(
            signals.reshape(batch * 2, samples),
            _FFT,
            HOP,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        ).view(batch, 2, _FFT // 2 + 1, -1)
        padded = torch.cat([gains[:, :1], gains, gains[:, -1:]], 1)
        between = torch.exp(0.5 * (padded[:, :-1] + padded[:, 1:]))  # (batch, times, 2, bands)
        whole = (between @ self.spread).permute(0, 2, 3, 1)  # (batch, 2, bins, times)
        mixed = (spectrum * whole).sum(1)
        return torch.istft(mixed, _FFT, HOP, window=self.window, center=True, length=samples)

    # Whole scores -----------------------------------------------------------------------------

    def conditions(self, features: ScoreFeatures, signals: Tensor, stems: list[int]) -> Conditions:
        """Conditions of the named stems from features and excitation (stems, 2, samples)."""
        device = self.codebooks.device
        levels = self.envelope(signals.reshape(2 * len(stems), -1))
        levels = levels.view(len(stems), 2, *levels.shape[1:])

        def tensor(values: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(values[stems]).to(device)

        return Conditions(
            torch.tensor(stems, device=device),
            tensor(features.roll),
            tensor(features.onset),
            tensor(features.place),
            tensor(features.programs),
            levels[:, 0],
            levels[:, 1],
        )

    def _prepare(
        self, score: TimedScore, features: ScoreFeatures, first: int, last: int
    ) -> tuple[list[int], Tensor, Conditions] | None:
        """Stems that sound, their excitation and conditions over frames `first` to `last`."""
        stems = [k for k, notes in enumerate(score.stems) if notes]
        if not stems:
            return None
        signals = [self.excitation.stem(score.stems[k], first * FRAME, last * FRAME) for k in stems]
        stacked = torch.from_numpy(np.stack(signals)).to(self.codebooks.device)
        return stems, stacked, self.conditions(features.window(first, last), stacked, stems)

    @torch.no_grad()
    def encode(self, audio: NDArray[np.float32], score: TimedScore) -> Tensor:
        """Tokens of dry mono stems (4, score.samples), shape (4, codebooks, frames).

        Raises :class:`ConfigError` where stems and score differ in length.
        """
        if audio.shape != (len(STEMS), score.samples):
            raise ConfigError(f"stems have shape {audio.shape}, not {(len(STEMS), score.samples)}")
        tokens = torch.zeros((len(STEMS), self.config.codebooks, score.frames), dtype=torch.long)
        prepared = self._prepare(score, score_features(score), 0, score.frames)
        if prepared is None:
            return tokens
        stems, _, c = prepared
        hidden, expected = self.predict(c)
        target = self.envelope(torch.from_numpy(audio[stems]).to(hidden.device))
        latent = self.encoder(target - expected, hidden)
        tokens[stems] = self.quantize(latent, c.stem).cpu()
        return tokens

    @torch.no_grad()
    def decode(
        self,
        tokens: Tensor | None,
        score: TimedScore,
        *,
        first: int = 0,
        last: int | None = None,
        stereo: bool = False,
        features: ScoreFeatures | None = None,
    ) -> NDArray[np.float32]:
        """Dry stems of frames `first` to `last`: (4, samples), or (4, 2, samples) in stereo.

        `tokens` (4, codebooks, frames) begin with the score and reach at least to frame
        `last + LOOK_AHEAD` or to its end; later ones do not matter. Without tokens the stems sound
        as predicted. In stereo every part stands at its pan.

        Raises :class:`ConfigError` where tokens and score do not fit.
        """
        last = score.frames if last is None else last
        if not 0 <= first < last <= score.frames:
            raise ConfigError(f"frames {first} to {last} are not within {score.frames}")
        features = features or score_features(score)
        if tokens is not None:
            self._check(tokens, min(score.frames, last + LOOK_AHEAD))
        windows = [
            self._decode(tokens, score, features, start, min(start + _LONGEST, last), stereo)
            for start in range(first, last, _LONGEST)
        ]
        out = windows[0] if len(windows) == 1 else np.concatenate(windows, -1)
        return out if stereo else out[:, 0]

    def _check(self, tokens: Tensor, frames: int) -> None:
        if tokens.shape[:2] != (len(STEMS), self.config.codebooks) or tokens.shape[2] < frames:
            raise ConfigError(f"tokens of shape {tuple(tokens.shape)} do not fit the score")
        if int(tokens.min()) < 0 or int(tokens.max()) >= self.config.bins:
            raise ConfigError(f"tokens must be 0 to {self.config.bins - 1}")

    def _decode(
        self,
        tokens: Tensor | None,
        score: TimedScore,
        features: ScoreFeatures,
        first: int,
        last: int,
        stereo: bool,
    ) -> NDArray[np.float32]:
        """One window, (4, sides, samples)."""
        begin, end = max(0, first - CONTEXT), min(score.frames, last + CONTEXT)
        sides = 2 if stereo else 1
        out = np.zeros((len(STEMS), sides, (last - first) * FRAME), np.float32)
        prepared = self._prepare(score, features, begin, end)
        if prepared is None:
            return out
        stems, signals, c = prepared
        hidden, level = self.predict(c)
        if tokens is not None:
            window = tokens[stems, :, begin:end].to(hidden.device)
            window = F.pad(window, (0, end - begin - window.shape[2]))  # beyond the look-ahead
            level = level + self.residual(self.dequantize(window, c.stem), hidden)
        gains = self.decoder(level, c, hidden)
        crop = slice((first - begin) * FRAME, (last - begin) * FRAME)
        for row, stem in enumerate(stems):
            for side, signal in self._sides(score, stem, signals[row], begin, end, sides):
                sound = self.filter(gains[row : row + 1], signal[None])
                out[stem, side] = sound[0, crop].cpu().numpy()
        return out

    def _sides(
        self, score: TimedScore, stem: int, mono: Tensor, begin: int, end: int, sides: int
    ) -> Iterator[tuple[int | slice, Tensor]]:
        """Where in the output a signal goes; one signal for both sides if no part is panned."""
        notes = score.stems[stem]
        if sides == 1 or all(note.pan == 0 for note in notes):
            yield slice(None), mono
            return
        panned = self.excitation.panned(notes, begin * FRAME, end * FRAME)
        for side in range(2):
            yield side, torch.from_numpy(panned[side]).to(mono.device)

    @torch.no_grad()
    def expected_levels(self, score: TimedScore) -> NDArray[np.float32]:
        """Envelopes that the score alone lets one expect, (4, frames, bands), natural logs."""
        out = np.full(
            (len(STEMS), score.frames, self.config.bands), np.log(SILENCE), dtype=np.float32
        )
        prepared = self._prepare(score, score_features(score), 0, score.frames)
        if prepared is not None:
            stems, _, c = prepared
            out[stems] = self.predict(c)[1].cpu().numpy()
        return out

    def expected_rms(self, score: TimedScore) -> float:
        """Gated RMS of the whole dry mix as the score lets one expect it; see mastering."""
        power = sum(self.excitation.power(notes, score.frames) for notes in score.stems)
        return _COHERENCE * gated_frames(np.asarray(power))

    # Files ------------------------------------------------------------------------------------

    def encoding_digest(self) -> str:
        """SHA-256 of all that decides about tokens: tables, predictor, encoder and codebooks.

        Codecs that differ in their decoder alone share it: their tokens mean the same.
        """
        found = hashlib.sha256(json.dumps(asdict(self.config), sort_keys=True).encode("ascii"))
        decides = ("predictor.", "encoder.", "codebooks")
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(decides):
                found.update(name.encode("ascii"))
                found.update(value.detach().cpu().half().numpy().tobytes())
        for name, array in sorted(self.excitation.tables.to_arrays().items()):
            found.update(name.encode("ascii"))
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def save(self, path: Path) -> None:
        """Write weights (fp16) and instrument tables as one safetensors file."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[np.generic]] = {
            name: np.ascontiguousarray(value.detach().cpu().half().numpy())
            for name, value in self.state_dict().items()
        }
        for name, value in self.excitation.tables.to_arrays().items():
            arrays[f"tables.{name}"] = np.ascontiguousarray(value)
        description = {"stem_codec": json.dumps(asdict(self.config))}
        write_file(path, save(arrays, description), mode=None)

    @classmethod
    def load(cls, path: Path) -> StemCodec:
        """Read a file of :meth:`save`, in eval mode. Raises :class:`ConfigError`."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                config = StemCodecConfig(**json.loads((file.metadata() or {})["stem_codec"]))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as exc:
            raise ConfigError(f"cannot read the stem codec {path}: {exc}") from exc
        tables = {
            name.removeprefix("tables."): value
            for name, value in arrays.items()
            if name.startswith("tables.")
        }
        codec = cls(config, InstrumentTables.from_arrays(tables))
        state = {
            name: torch.from_numpy(value).float()
            for name, value in arrays.items()
            if not name.startswith("tables.")
        }
        try:
            codec.load_state_dict(state)
        except RuntimeError as exc:
            raise ConfigError(f"the stem codec {path} does not fit its own description") from exc
        return codec.eval()


def envelope(signal: Tensor, mel: Tensor, window: Tensor) -> Tensor:
    """Natural log of amplitudes in mel bands, (batch, samples) -> (batch, frames, bands).

    A frame is centred on its 960 samples and sees 2048; a sine of amplitude 1 reads about 0.
    """
    beside = (len(window) - FRAME) // 2
    missing = -signal.shape[-1] % FRAME
    padded = F.pad(signal, (beside, missing + beside))
    frames = padded.unfold(-1, len(window), FRAME)  # a view
    out = []
    for part in torch.split(frames, _LONGEST, dim=1):
        spectrum = torch.fft.rfft(part * window).abs() * (2 / window.sum())
        out.append(torch.log(spectrum @ mel + SILENCE))
    return torch.cat(out, 1)


def mel_matrix(n_fft: int, bands: int) -> Tensor:
    """Triangular mel filters (HTK scale, 30 Hz to Nyquist), (bins, bands), unit sums."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (30.0, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * RATE / n_fft
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(np.minimum(rising, falling), 0)
    # A band narrower than a bin would be empty: it takes the nearest bin.
    nearest = np.round(edges[1:-1] / (RATE / n_fft)).astype(int).clip(max=n_fft // 2)
    for band in np.flatnonzero(filters.sum(0) == 0):
        filters[nearest[band], band] = 1.0
    return torch.from_numpy((filters / filters.sum(0)).astype(np.float32))
