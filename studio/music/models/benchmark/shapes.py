"""MusicGen's real layouts with random weights: the speed of a model without its download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.music.models.hub.checkpoint import Checkpoint

__all__ = ["SHAPES", "TEXT_TOKENS", "musicgen_shape"]

SHAPES: dict[str, dict[str, int]] = {
    "musicgen-small": {"layers": 24, "dim": 1024, "heads": 16},
    "musicgen-medium": {"layers": 48, "dim": 1536, "heads": 24},
}
"""audiocraft's config/model/lm/model_scale, by the name of the model."""

TEXT_TOKENS = 12
"""Tokens of every text: what a phrase of a few tags comes to in T5."""


def musicgen_shape(
    layers: int = 24, dim: int = 1024, heads: int = 16, *, card: int = 2048, seed: int = 0
) -> Checkpoint:
    """MusicGen with the 32 kHz EnCodec, its weights random and the same for the same `seed`.

    The weights are fp16 numbers in fp32, as those of a published checkpoint are. The defaults are
    musicgen-small (audiocraft's config/model/lm/model_scale and config/model/encodec). Instead of
    T5 a table gives every text the same embeddings.
    """
    import torch

    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import (
        ConditionFuser,
        ConditioningProvider,
        TextConditioner,
    )
    from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
    from audiocraft.quantization.vq import ResidualVectorQuantizer

    from studio.music.models.hub.checkpoint import Checkpoint

    generator = torch.Generator().manual_seed(seed)

    class Table(TextConditioner):
        def __init__(self) -> None:
            super().__init__(dim, dim)
            del self.output_proj
            self.embeddings = torch.randn(1, TEXT_TOKENS, dim, generator=generator)

        def tokenize(self, texts: Any) -> Any:
            return [text is not None for text in texts]

        def forward(self, given: Any) -> Any:
            mask = torch.tensor(given)[:, None].expand(-1, TEXT_TOKENS).int()
            return self.embeddings * mask[..., None], mask

    with torch.device("meta"):  # no time is spent on values that are overwritten
        lm = LMModel(
            DelayedPatternProvider(4),
            ConditioningProvider({}),
            ConditionFuser({"cross": ["description"], "prepend": [], "sum": []}),
            n_q=4,
            card=card,
            dim=dim,
            num_heads=heads,
            num_layers=layers,
            norm_first=True,
            bias_proj=False,
            bias_ff=False,
            bias_attn=False,
            causal=True,
            memory_efficient=True,
            cross_attention=True,
            activation="gelu",
        )
    lm.to_empty(device="cpu")
    _fill(lm, generator)
    lm.condition_provider = ConditioningProvider({"description": Table()})
    seanet: dict[str, Any] = {
        "dimension": 128,
        "n_filters": 64,
        "ratios": [8, 5, 4, 4],
        "lstm": 2,
        "norm": "none",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = EncodecModel(
            SEANetEncoder(**seanet),
            SEANetDecoder(**seanet),
            ResidualVectorQuantizer(dimension=128, n_q=4, bins=card, kmeans_init=False),
            frame_rate=50,
            sample_rate=32000,
            channels=1,
        )
    return Checkpoint(codec.eval(), lm.eval(), digest="", max_duration_s=30.0)


def _fill(lm: Any, generator: Any) -> None:
    """Uniform weights of variance 1 / inputs; the heads three times that deviation.

    Predictions are then far enough from uniform that a lossy precision can go wrong.
    """
    import torch

    heads = {id(linear.weight) for linear in lm.linears}
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.dim() == 1:
                continue
            bound = (3 / parameter.shape[-1]) ** 0.5 * (3 if id(parameter) in heads else 1)
            parameter.uniform_(-bound, bound, generator=generator)
            parameter.copy_(parameter.half())
        for module in lm.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1)
                module.bias.zero_()
