"""Errors the watermark package raises, each with a text that says what to do.

::

    WatermarkError
    ├── AudioError                 a file or a waveform cannot be used
    │   ├── UnreadableAudioError   not audio, damaged, empty, or not there
    │   ├── UnsupportedAudioError  audio, but of a kind that is not handled (channels, rate, codec)
    │   │   └── AudioFormatLimitError  more channels, or another sample rate, than the limits allow
    │   └── AudioTooLongError      over a limit on duration, size, memory or decoding time
    ├── SandboxUnavailableError    the decoding sandbox is not whole here; nothing was decoded
    ├── CarrierError               the carrier cannot hold a seal; nothing was written
    │   ├── CarrierTooShortError
    │   └── CarrierTooQuietError
    ├── SealIdError                not a seal id
    ├── SealKeyError               a key file is missing, damaged, or readable by others
    ├── CodebookError              a codebook that cannot be searched
    ├── FingerprintError           not a fingerprint, or too little audio to make one
    ├── SealModelError             seal weights are missing, damaged, or of the wrong digest
    ├── BenchError                 an attack list or a bench that cannot be run as asked
    └── ScanError                  a list of files or a report of a scan that cannot be used

Expected outcomes ("no seal found") are values, not errors. A message never holds more of a path
than the file's name: these texts are shown to strangers. The command line maps the classes to exit
codes in one place, :mod:`watermark.cli.main`.

>>> issubclass(AudioTooLongError, AudioError)
True
"""

from __future__ import annotations

__all__ = [
    "AudioError",
    "AudioFormatLimitError",
    "AudioTooLongError",
    "BenchError",
    "CarrierError",
    "CarrierTooQuietError",
    "CarrierTooShortError",
    "CodebookError",
    "FingerprintError",
    "SandboxUnavailableError",
    "ScanError",
    "SealIdError",
    "SealKeyError",
    "SealModelError",
    "UnreadableAudioError",
    "UnsupportedAudioError",
    "WatermarkError",
]


class WatermarkError(Exception):
    """Root of every error raised on purpose in :mod:`watermark`."""


class AudioError(WatermarkError):
    """A file or a waveform cannot be used."""


class UnreadableAudioError(AudioError):
    """Not audio, damaged beyond decoding, empty, or not there."""


class UnsupportedAudioError(AudioError):
    """Audio of a kind that is not handled: channels, sample rate, codec or format."""


class AudioFormatLimitError(UnsupportedAudioError):
    """More channels, or a higher or lower sample rate, than the limits on decoding allow."""


class AudioTooLongError(AudioError):
    """Over a limit on duration, size, memory or decoding time."""


class SandboxUnavailableError(WatermarkError):
    """This system refuses the filter of the decoding sandbox; no file was decoded."""


class CarrierError(WatermarkError):
    """The carrier cannot hold a seal; nothing was written."""


class CarrierTooShortError(CarrierError):
    """The carrier is shorter than the shortest that can be sealed readably."""


class CarrierTooQuietError(CarrierError):
    """The carrier is silence, or so quiet that a seal in it would be lost."""


class SealIdError(WatermarkError):
    """Not a seal id (16 hexadecimal digits, 8 bytes)."""


class SealKeyError(WatermarkError):
    """A key file is missing, damaged, or open to other users."""


class CodebookError(WatermarkError):
    """A codebook that cannot be searched."""


class FingerprintError(WatermarkError):
    """Bytes that are no fingerprint, or audio too short to have one."""


class SealModelError(WatermarkError):
    """Seal weights are missing, damaged, or not the ones their card names."""


class BenchError(WatermarkError):
    """An attack list or a bench that cannot be run as asked."""


class ScanError(WatermarkError):
    """A list of files that cannot be read, or a report that cannot be continued or written."""
