"""Channel layouts: names, WAVE masks, and what each format can store.

A layout is a tuple of channel names in the order of the samples, ``("FL", "FR", "FC", "LFE", "BL",
"BR")`` for 5.1 in a WAV file. Names and their canonical order are those of WAVEFORMATEXTENSIBLE's
``dwChannelMask``, which FFmpeg uses too. ``None`` stands for a file that does not say; then the
usual layout of so many channels is meant, as players take it.

>>> of_mask(0x3F, 6) == USUAL[6]
True
>>> writable(("FL", "FR", "FC", "LFE", "SL", "SR"), 6, "ogg")
('FL', 'FR', 'FC', 'LFE', 'BL', 'BR')
>>> order(("FC", "FL", "FR"))
[1, 2, 0]
"""

from __future__ import annotations

from watermark.errors import UnsupportedAudioError

__all__ = ["NAMES", "USUAL", "Layout", "alike", "mask_of", "of_mask", "order", "writable"]

Layout = tuple[str, ...]

#: By bit of the mask.
NAMES = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC"),
    *("SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
_BIT = {name: bit for bit, name in enumerate(NAMES)}


def _layout(text: str) -> Layout:
    return tuple(text.split())


#: The layout of a file that does not say, by its number of channels (as FLAC and Opus define it).
USUAL = {
    1: _layout("FC"),
    2: _layout("FL FR"),
    3: _layout("FL FR FC"),
    4: _layout("FL FR BL BR"),
    5: _layout("FL FR FC BL BR"),
    6: _layout("FL FR FC LFE BL BR"),
    7: _layout("FL FR FC LFE BC SL SR"),
    8: _layout("FL FR FC LFE BL BR SL SR"),
}
_STEREO = (USUAL[1], USUAL[2])
_AAC = (
    *_STEREO,
    USUAL[3],
    _layout("FL FR FC BC"),
    USUAL[5],
    USUAL[6],
    USUAL[8],
)

#: What each format can state. WAV and FLAC carry a mask, so they can state everything it can.
_STATED: dict[str, tuple[Layout, ...]] = {
    "mp3": _STEREO,
    "m4a": _AAC,
    # FFmpeg's libopus encoder writes 5.0 and 6.1 in an order of its own (FFmpeg 8, PyAV 18).
    "opus": tuple(layout for count, layout in USUAL.items() if count not in (5, 7)),
    "ogg": tuple(USUAL.values()),
}


def of_mask(mask: int, channels: int) -> Layout | None:
    """The layout of a WAVE mask; None where it names another number of channels or unknown ones."""
    names = tuple(name for bit, name in enumerate(NAMES) if mask >> bit & 1)
    return names if len(names) == channels and mask >> len(NAMES) == 0 else None


def mask_of(layout: Layout) -> int:
    """The WAVE mask of a layout whose names are all in :data:`NAMES`."""
    return sum(1 << _BIT[name] for name in layout)


def order(layout: Layout) -> list[int]:
    """The place in the layout of each channel of its canonical order."""
    return sorted(range(len(layout)), key=lambda at: _BIT.get(layout[at], len(NAMES)))


def alike(one: Layout | None, other: Layout | None, channels: int) -> bool:
    """Whether two layouts mean the same: a lone pair of surrounds is "back" or "side" alike."""
    return _surround(one or USUAL[channels]) == _surround(other or USUAL[channels])


def writable(layout: Layout | None, channels: int, format: str) -> Layout:
    """The canonical layout that a file of the format states for these channels.

    Raises :class:`UnsupportedAudioError` where the format cannot hold or state it: channels are
    never given another meaning.
    """
    if channels not in USUAL:
        raise UnsupportedAudioError(
            f"{format} is written with 1 to {max(USUAL)} channels, not {channels}"
        )
    meant = USUAL[channels] if layout is None else layout
    if len(meant) != channels or len(set(meant)) != channels:
        raise UnsupportedAudioError(f"{channels} channels with {len(set(meant))} names")
    if meant == ("DL", "DR"):  # a stereo downmix
        meant = USUAL[2]
    unknown = [name for name in meant if name not in _BIT]
    if unknown:
        raise UnsupportedAudioError(f"{format} cannot state the channels {' '.join(unknown)}")
    canonical = tuple(meant[at] for at in order(meant))
    if format not in _STATED:
        return canonical
    for stated in _STATED[format]:
        if _surround(stated) == _surround(canonical):
            return stated
    if channels == 1:  # a single channel is mono wherever it once stood
        return USUAL[1]
    fitting = [f"{len(stated)}" for stated in _STATED[format] if len(stated) == channels]
    most = max(len(stated) for stated in _STATED[format])
    raise UnsupportedAudioError(
        f"{format} cannot state the channels {' '.join(canonical)}; write .wav or .flac"
        if fitting or channels <= most
        else f"{format} holds at most {most} channels, not {channels}; write .wav or .flac"
    )


def _surround(layout: Layout) -> frozenset[str]:
    names = frozenset(layout)
    if not names & {"BL", "BR"}:
        names = frozenset({"SL": "BL", "SR": "BR"}.get(name, name) for name in names)
    return names
