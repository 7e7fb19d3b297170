"""Remove the studio's own watermark in memory, before an output is extended.

An extension begins with its parent's music. The released file of the parent carries the parent's
seal; sealed again as a whole it would carry two over each other, each spoiling the other's reading
in the part they share. No unsealed copy is kept anywhere, by design. But who has key and seal id
can compute the mark, and subtract it: the mark m(x) depends on the host x, and the released file
is y = x + m(x), so x is the fixed point of x ← y − m(x), which converges because the mark is small
and changes little with small changes of the host.

Only :mod:`studio.generation.derived.lineage` does this, with the file's digest checked, and what
comes out never leaves the process except inside a newly sealed output. Whether the old seal is
really gone is read, not believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from studio.core.errors import ParentRefusedError

if TYPE_CHECKING:
    from studio.provenance.sealer import Sealer
    from watermark.audio.waveform import Waveform
    from watermark.coding.message import SealId, SealKey

__all__ = ["unsealed"]

_ITERATIONS = 14
"""At the nominal strength each gains about half a decibel still; at the loudest allowed one the
error is least after ten and slowly grows again (measured: 28.2 dB after 10, 27.7 after 16)."""


def unsealed(
    waveform: Waveform, seal_id: SealId, key: SealKey, *, sealer: Sealer, strength: float
) -> Waveform:
    """The waveform without that seal. ``strength`` is the one it was sealed with.

    Raises :class:`ParentRefusedError` where the seal can still be read afterwards.
    """
    from watermark.audio.waveform import Waveform as Audio

    host = waveform
    for _ in range(_ITERATIONS):
        marked = sealer.seal(host, seal_id, key, strength=strength)
        samples = waveform.samples - (marked.samples - host.samples)
        host = Audio(np.asarray(samples, dtype=np.float32), waveform.rate)
    if _reads(host, seal_id, key, sealer):
        raise ParentRefusedError(
            "the parent's own seal could not be taken off its music; vary it instead"
        )
    return host


def _reads(waveform: Waveform, seal_id: SealId, key: SealKey, sealer: Sealer) -> bool:
    from watermark.coding.identify import Codebook, CodebookEntry

    codebook = Codebook([CodebookEntry(seal_id, key, waveform.duration_s)])
    return sealer.read(waveform, codebook).identification is not None
