"""Conditioners of hub models that need nothing but what is on this machine.

audiocraft's `T5Conditioner` asks the hub by name for its encoder, and `ChromaStemConditioner` wants
demucs, torchaudio and librosa even where no melody is given. These two give the same conditions.
Imported only by :mod:`studio.music.models.hub.loader`, for importing it loads audiocraft.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.music.models.hub.audiocraft_compat import load_audiocraft

load_audiocraft()  # before the classes below can be derived from audiocraft's

from audiocraft.modules.conditioners import (  # noqa: E402 - see above
    T5Conditioner,
    TextConditioner,
    WavCondition,
    WaveformConditioner,
)
from audiocraft.utils.autocast import TorchAutocast  # noqa: E402 - see above

__all__ = ["LocalT5Conditioner", "SilentMelodyConditioner"]


class LocalT5Conditioner(T5Conditioner):
    """audiocraft's text conditioner, its encoder read from a directory.

    Args:
        directory: configuration, weights and tokenizer of the encoder, in transformers' layout.
        output_dim: width of the language model.
        finetune: whether the encoder's weights belong to the checkpoint.

    Raises what transformers raises for an unreadable directory (OSError, ValueError).
    """

    def __init__(self, directory: Path, output_dim: int, *, finetune: bool = False) -> None:
        from transformers import T5EncoderModel, T5Tokenizer
        from transformers.utils import logging

        silence: Any = logging.disable_progress_bar  # untyped
        silence()  # reading a local file needs no bar on standard error
        with warnings.catch_warnings():
            # transformers announces changes of its tokenizers; the vocabulary is the file's.
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            tokenizer = T5Tokenizer.from_pretrained(directory, local_files_only=True)
            encoder = T5EncoderModel.from_pretrained(directory, local_files_only=True)
        # Past T5Conditioner's constructor, which would ask the hub; its methods are used as is.
        TextConditioner.__init__(self, encoder.config.d_model, output_dim)
        self.device = "cpu"
        self.name = directory.name
        self.finetune = finetune
        self.word_dropout = 0.0
        self.normalize_text = False
        self.autocast = TorchAutocast(enabled=False)
        self.t5_tokenizer = tokenizer
        encoder.train(False)
        if finetune:
            self.t5 = encoder
        else:
            self.__dict__["t5"] = encoder  # kept out of the state, as in audiocraft


class SilentMelodyConditioner(WaveformConditioner):
    """What `ChromaStemConditioner` gives when no melody is: the chroma of silence, full length.

    Args:
        output_dim: width of the language model.
        n_chroma: pitch classes, 12.
        window: samples of the analysis window; it advances by a quarter (modules/chroma.py:36).
        samples: length of the model's longest piece.
        argmax: whether chroma are one-hot; silence then has its one in the first class.
    """

    def __init__(
        self, output_dim: int, *, n_chroma: int, window: int, samples: int, argmax: bool
    ) -> None:
        super().__init__(dim=n_chroma, output_dim=output_dim, device="cpu")
        self._use_masking = False  # as MusicGen.get_pretrained sets it for this conditioner
        frames = 1 + samples // (window // 4)  # of a centred short-time transform
        silence = torch.zeros(1, frames, n_chroma)
        if argmax:
            silence[..., 0] = 1
        self.register_buffer("silence", silence, persistent=False)

    def _get_wav_embedding(self, x: WavCondition) -> Tensor:
        silence = self.silence
        assert isinstance(silence, Tensor)
        return silence.expand(len(x.wav), -1, -1)
