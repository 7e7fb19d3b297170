"""Residual vector quantisation: each codebook codes what those before it leave over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from studio.music.training.clustering import k_means, nearest

__all__ = ["CodebookLearner", "ResidualQuantizer"]


class ResidualQuantizer(nn.Module):
    """Codebooks over latents (batch, dim, frames); codes are (batch, codebooks, frames)."""

    codebooks: Tensor

    def __init__(self, dim: int, count: int, bins: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.randn(count, bins, dim))

    @torch.no_grad()
    def encode(self, latents: Tensor) -> Tensor:
        batch, _, frames = latents.shape
        rest = latents.transpose(1, 2).flatten(0, 1)
        codes = []
        for book in self.codebooks:
            chosen = nearest(rest, book)
            rest = rest - book[chosen]
            codes.append(chosen.view(batch, frames))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        parts = [book[codes[:, k]] for k, book in enumerate(self.codebooks)]
        return torch.stack(parts).sum(0).transpose(1, 2)


class CodebookLearner:
    """Moves the codes of a quantiser to the latents that choose them; a part of training only.

    Args:
        quantizer: what is learnt; changed in place.
        decay: of the moving averages, for each step.
        revive_below: share of the mean use under which a code counts as unused.
    """

    def __init__(self, quantizer: ResidualQuantizer, decay: float, revive_below: float) -> None:
        self.quantizer, self.decay, self.revive_below = quantizer, decay, revive_below
        self.sizes = torch.ones_like(quantizer.codebooks[..., 0])
        self.sums = quantizer.codebooks.clone()

    @torch.no_grad()
    def place(self, latents: Tensor, generator: torch.Generator) -> None:
        """Put codes at k-means centres of latents (vectors, dim); random ones would stay unused.

        Raises :class:`HouseError` where there are fewer latents than codes.
        """
        rest = latents
        for k, book in enumerate(self.quantizer.codebooks):
            book.copy_(k_means(rest, len(book), generator))
            chosen = nearest(rest, book)
            sizes = torch.bincount(chosen, minlength=len(book)).to(book)
            self.sizes[k] = sizes / sizes.mean()
            rest = rest - book[chosen]
        self.sums = self.quantizer.codebooks * self.sizes[..., None]

    @torch.no_grad()
    def learn(self, latents: Tensor, codes: Tensor, generator: torch.Generator | None) -> int:
        """One step of the moving averages over (batch, dim, frames) and their codes.

        With a generator, unused codes move to latents of this batch. Returns how many did.
        """
        rest = latents.transpose(1, 2).flatten(0, 1)
        revived = 0
        for k, book in enumerate(self.quantizer.codebooks):
            chosen = codes[:, k].flatten()
            added = book[chosen]
            scale = len(book) / len(rest)
            sizes = torch.bincount(chosen, minlength=len(book)).to(rest) * scale
            sums = torch.zeros_like(book).index_add_(0, chosen, rest) * scale
            self.sizes[k].lerp_(sizes, 1 - self.decay)
            self.sums[k].lerp_(sums, 1 - self.decay)
            used = self.sizes[k] > 1e-3
            book[used] = self.sums[k][used] / self.sizes[k][used, None]
            if generator is not None:
                unused = torch.nonzero(self.sizes[k] < self.revive_below).flatten()
                pick = torch.randint(len(rest), (len(unused),), generator=generator)
                book[unused] = rest[pick.to(rest.device)]
                self.sizes[k, unused] = 0.5
                self.sums[k, unused] = 0.5 * book[unused]
                revived += len(unused)
            rest = rest - added
        return revived

    def state(self) -> dict[str, Tensor]:
        """What a later step depends on, beside the codes themselves."""
        return {"sizes": self.sizes, "sums": self.sums}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        self.sizes, self.sums = state["sizes"], state["sums"]
