"""FluidSynth with Debian's FluidR3Mono soundfont (MIT), for the renderers of training music.

A synthesiser that is reset does not promise the same samples again: FluidSynth's voices fade on,
and a voice used again starts from its last gain (measured, 2.3.1). So every piece or note gets a
synthesiser of its own, while the soundfont, whose loading costs a second, is loaded once and lent
to each.

The library and the soundfont are Debian's ``libfluidsynth3`` and ``fluidr3mono-gm-soundfont``.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from studio.core.errors import HouseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["SoundfontSynthesiser", "find_soundfont"]

_SOUNDFONTS = (
    Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"),
    Path("/usr/share/sounds/sf2/FluidR3Mono_GM.sf2"),
)
_DEBIAN = "install Debian's libfluidsynth3 and fluidr3mono-gm-soundfont, and the extra 'house'"
_DRUM_BANK = 128
_CHANNELS = 16


def find_soundfont() -> Path:
    """Where Debian keeps the soundfont. Raises :class:`HouseError` naming the package."""
    for path in _SOUNDFONTS:
        if path.exists():
            return path
    raise HouseError(f"the soundfont FluidR3Mono_GM is not installed; {_DEBIAN}")


class SoundfontSynthesiser:
    """Lends one soundfont to new synthesisers. Use as a context manager, or call :meth:`close`.

    Args:
        soundfont: The file; Debian's where it is None.
        rate: Sample rate, Hz.
        polyphony: Voices of each synthesiser.

    Raises:
        HouseError: FluidSynth or the soundfont is missing.
    """

    def __init__(self, soundfont: Path | None, *, rate: int, polyphony: int) -> None:
        path = soundfont or find_soundfont()
        try:
            import fluidsynth
        except ImportError as exc:
            raise HouseError(f"FluidSynth is not installed; {_DEBIAN}") from exc
        self._fs: Any = fluidsynth
        self._lib: Any = fluidsynth._fl
        _declare(self._lib)
        # This synthesiser never plays: it holds the soundfont that those which play borrow.
        self._library: Any = fluidsynth.Synth(
            gain=0.4,
            samplerate=float(rate),
            channels=_CHANNELS,
            **{
                "synth.reverb.active": 0,
                "synth.chorus.active": 0,
                "synth.polyphony": polyphony,
                "synth.cpu-cores": 1,
            },
        )
        sfid = self._library.sfload(str(path))
        if sfid < 0:
            self._library.delete()
            raise HouseError(f"FluidSynth cannot load the soundfont {path}")
        self._soundfont = self._lib.fluid_synth_get_sfont_by_id(self._library.synth, sfid)
        self.soundfont = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._library is not None:
            self._library.delete()
            self._library = None

    @contextmanager
    def _fresh_synth(self) -> Iterator[Any]:
        """A new synthesiser with the shared soundfont. Raises :class:`HouseError`."""
        synth = self._fs.new_fluid_synth(self._library.settings)
        if not synth or self._lib.fluid_synth_add_sfont(synth, self._soundfont) < 0:
            raise HouseError("FluidSynth cannot make another synthesiser")
        try:
            yield synth
        finally:
            for channel in range(_CHANNELS):  # or it warns that their presets have gone
                self._fs.fluid_synth_unset_program(synth, channel)
            self._lib.fluid_synth_remove_sfont(synth, self._soundfont)
            self._fs.delete_fluid_synth(synth)

    def _select(self, synth: Any, channel: int, program: int, *, percussion: bool) -> None:
        """Set a channel's instrument. Raises :class:`HouseError` where the soundfont has none."""
        sfid = self._lib.fluid_sfont_get_id(self._soundfont)
        bank = _DRUM_BANK if percussion else 0
        if self._fs.fluid_synth_program_select(synth, channel, sfid, bank, program):
            raise HouseError(f"the soundfont has no program {program} in bank {bank}")

    def _pull(self, synth: Any, samples: int) -> NDArray[np.float32]:
        """The next samples, both channels added, shape (samples,)."""
        left = np.empty(samples, dtype=np.float32)
        right = np.empty_like(left)
        if self._lib.fluid_synth_write_float(
            synth, samples, left.ctypes.data, 0, 1, right.ctypes.data, 0, 1
        ):
            raise HouseError("FluidSynth failed while rendering")
        return left + right


def _declare(library: Any) -> None:
    """Types of the functions that pyfluidsynth does not wrap."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("fluid_synth_get_sfont_by_id", pointer, [pointer, integer]),
        ("fluid_synth_add_sfont", integer, [pointer, pointer]),
        ("fluid_synth_remove_sfont", integer, [pointer, pointer]),
        ("fluid_sfont_get_id", integer, [pointer]),
        (
            "fluid_synth_write_float",
            integer,
            [pointer, integer, pointer, integer, integer, pointer, integer, integer],
        ),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
