"""Errors the studio raises on purpose, each with a text that says what to do.

::

    StudioError
    ├── ConfigError            a configuration file is missing or wrong
    ├── UsageError             the request itself is not possible (duration, format, tags)
    │   ├── FileAbsentError    a named file is not there or may not be read
    │   ├── BeyondLimitsError  a recording is over a limit on what is examined; it was not
    │   ├── HostRefusedError   another machine's address that this studio does not ask
    │   ├── UnknownTagError
    │   └── OutputGoneError    the record of an output remains, its file does not
    ├── ConsentRefusedError    no grant covers the request
    │   └── OutputWithdrawnError   a rights holder's revocation stops this output's distribution
    ├── ConsentFileError       a file of signed consent that cannot be read or is not believed
    ├── RequestRefusedError    the studio declines the request, whatever the consent
    │   ├── NameRefusedError   a title or note names an artist
    │   ├── QuotaExceededError too many outputs; says when to come back
    │   ├── ParentRefusedError what shall be varied or extended cannot be
    │   └── RenditionUnavailableError  an output cannot be had in this form
    ├── BusyError              as many requests wait as may wait; come back later
    ├── TooManyRequestsError   the caller asked more than one account may; says when to come back
    ├── AccessDeniedError      the account may not do this, or nobody is signed in
    │   └── NotYoursError      the output is another account's, or there is none
    ├── SignInError            wrong name or password, or too many attempts
    ├── HostUnreachableError   another machine was asked, and gave no whole answer
    ├── DecodingRefusedError   this system cannot confine the decoder; nothing was decoded
    ├── ModelError             a generation model cannot be used
    │   ├── AudiocraftMissingError
    │   ├── CheckpointError    damaged, of the wrong digest, or not found
    │   ├── HubUnreachableError
    │   └── ModelMemoryError   generation ran out of memory
    ├── GenerationCancelledError
    ├── SealingError           the output could not be sealed readably; nothing was released
    ├── LedgerError            the ledger cannot be read or appended to
    ├── ProofError             a proof, checkpoint or signature does not hold
    ├── UnreadableProofError   a proof, checkpoint or key is not in its format at all
    ├── CredentialError        Content Credentials cannot be signed or read; nothing was released
    └── HouseError             composing, rendering, training or evaluating the house model

Expected outcomes (no seal found, a grant that does not cover a tag) are values, not errors; the
command line maps these classes to exit codes in one place, :mod:`studio.cli.main`.
"""

from __future__ import annotations

__all__ = [
    "AccessDeniedError",
    "AudiocraftMissingError",
    "BeyondLimitsError",
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "ConsentFileError",
    "ConsentRefusedError",
    "CredentialError",
    "DecodingRefusedError",
    "FileAbsentError",
    "GenerationCancelledError",
    "HostRefusedError",
    "HostUnreachableError",
    "HouseError",
    "HubUnreachableError",
    "LedgerError",
    "ModelError",
    "ModelMemoryError",
    "NameRefusedError",
    "NotYoursError",
    "OutputGoneError",
    "OutputWithdrawnError",
    "ParentRefusedError",
    "ProofError",
    "QuotaExceededError",
    "RenditionUnavailableError",
    "RequestRefusedError",
    "SealingError",
    "SignInError",
    "StudioError",
    "TooManyRequestsError",
    "UnknownTagError",
    "UnreadableProofError",
    "UsageError",
]


class StudioError(Exception):
    """Root of every error raised on purpose in :mod:`studio`."""


class ConfigError(StudioError):
    """A configuration file is missing or says something impossible."""


class UsageError(StudioError):
    """The request is not one this studio can carry out."""


class FileAbsentError(UsageError):
    """A named file is not there or may not be read: nothing can be said about its sound."""


class BeyondLimitsError(UsageError):
    """A recording is over a limit on what is examined, so nothing can be said about its sound."""


class HostRefusedError(UsageError):
    """An address of another machine that no allow list of the configuration covers."""


class HostUnreachableError(StudioError):
    """Another machine that may be asked gave no whole answer in time."""


class UnknownTagError(UsageError):
    """A tag that the vocabulary does not know."""

    def __init__(self, tag_id: str) -> None:
        super().__init__(f"unknown tag {tag_id!r}; `studio tags` lists the tags there are")
        self.tag_id = tag_id


class OutputGoneError(UsageError):
    """The output was made here, and its file is not here any more; the record remains."""


class ConsentRefusedError(StudioError):
    """No grant covers the request; the message names each tag and the reason."""


class BusyError(StudioError):
    """As many requests wait as may wait; the text asks to come back."""


class TooManyRequestsError(StudioError):
    """The caller asked more in a minute, or has more in line, than one account may."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AccessDeniedError(StudioError):
    """The caller's role does not permit this, the output is another's, or nobody is signed in."""


class NotYoursError(AccessDeniedError):
    """The output is another account's, or there is none; the two read alike."""


class SignInError(StudioError):
    """Signing in failed; ``retry_after_s`` is how long to wait when there were too many attempts.

    A wrong name and a wrong password read alike, so that names cannot be found out by trying.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RequestRefusedError(StudioError):
    """The studio declines a request that consent alone would allow; the message says why."""


class NameRefusedError(RequestRefusedError):
    """A title or note that a person typed names an artist, or cannot be a title at all."""


class QuotaExceededError(RequestRefusedError):
    """The account has had its share; the message says when there is more."""


class ParentRefusedError(RequestRefusedError):
    """This output cannot be varied or extended: unknown, withdrawn or unusable."""


class RenditionUnavailableError(RequestRefusedError):
    """An output cannot be had in this form: no codec, or no score; the message says which."""


class OutputWithdrawnError(ConsentRefusedError):
    """A grant behind the output was revoked, and its terms stop the output's distribution."""


class ConsentFileError(StudioError):
    """A file of signed consent cannot be read or is refused; says how to mend it."""


class DecodingRefusedError(StudioError):
    """This system refuses the decoding sandbox its filter; no file from outside was decoded."""


class ModelError(StudioError):
    """A generation model cannot be used."""


class AudiocraftMissingError(ModelError):
    """audiocraft is not installed beside the studio."""


class CheckpointError(ModelError):
    """A checkpoint is absent, damaged, or not the one its configuration names."""


class HubUnreachableError(ModelError):
    """A hub model was asked for and the hub cannot be reached."""


class ModelMemoryError(ModelError):
    """The model did not fit, or generation ran out of memory."""


class GenerationCancelledError(StudioError):
    """The caller cancelled; nothing was kept."""


class SealingError(StudioError):
    """The output could not be sealed so that the seal reads back; nothing was released."""


class LedgerError(StudioError):
    """The ledger cannot be opened, read or appended to."""


class ProofError(StudioError):
    """A proof, a checkpoint or its signature does not hold: somebody changed something."""


class UnreadableProofError(StudioError):
    """Not a proof bundle, checkpoint or public key at all, or damaged beyond reading."""


class CredentialError(StudioError):
    """Content Credentials cannot be signed, read or found; nothing was released unsigned."""


class HouseError(StudioError):
    """Composing, rendering, training or evaluating the house model failed."""
