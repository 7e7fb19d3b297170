"""Password rules and hashing (argon2id, RFC 9106's second recommendation).

Length is what counts (NIST SP 800-63B): twelve characters at the least, any characters, no rules of
composition; refused are the few that are guessed first.

>>> refusal("correct horse battery", name="ada") is None
True
>>> refusal("adalovelace-1815", name="adalovelace")
'the password must not be made of the account name'
"""

from __future__ import annotations

import threading
import unicodedata
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["MAX_LENGTH", "MIN_LENGTH", "Passwords", "refusal"]

MIN_LENGTH = 12  # characters
MAX_LENGTH = 256  # a bound on the work of hashing, not on anybody's memory

_AT_A_TIME = 2  # each hash takes 64 MiB while it runs

# What leaked lists begin with once their short entries are dropped, by stem: the stem and digits or
# punctuation around it are refused.
_STEMS = frozenset(
    (
        "password", "passwort", "motdepasse", "contrasena", "qwerty", "qwertyuiop", "qwertz",
        "asdfghjkl", "letmein", "iloveyou", "welcome", "admin", "administrator", "changeme",
        "secret", "master", "dragon", "monkey", "football", "baseball", "superman", "sunshine",
        "princess", "trustno", "abc", "abcdef", "abcdefgh", "abcdefghijkl", "studio", "music",
        "consented",
    )
)  # fmt: skip


def refusal(password: str, *, name: str) -> str | None:
    """Why the password is not accepted for that account, or None."""
    text = _normal(password)
    if len(text) < MIN_LENGTH:
        return f"the password must have at least {MIN_LENGTH} characters"
    if len(text) > MAX_LENGTH:
        return f"the password must have at most {MAX_LENGTH} characters"
    letters = "".join(character for character in text.casefold() if character.isalpha())
    if len(set(text)) < 5:
        return "the password repeats too few characters"
    if letters and not letters.replace(name.casefold(), ""):
        return "the password must not be made of the account name"
    if _made_of_stems(letters) and len(letters) < 20:
        return "the password is among those that are tried first"
    if _is_run(text):
        return "the password is a run of neighbouring characters"
    return None


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _made_of_stems(letters: str) -> bool:
    """Whether the letters are one of the stems, once or repeated."""
    return any(letters and not letters.replace(stem, "") for stem in _STEMS)


def _is_run(text: str) -> bool:
    """Whether nine of ten characters are neighbours of, or equal to, the one before."""
    steps = [abs(ord(b) - ord(a)) for a, b in pairwise(text)]
    return sum(step <= 1 for step in steps) >= 0.9 * len(steps)


class Passwords:
    """Hashes and checks; a few at a time, because each takes memory on purpose."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._given = hasher
        self._slots = threading.Semaphore(_AT_A_TIME)

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return self._given or PasswordHasher()

    @cached_property
    def _nobodys(self) -> str:
        """A hash that no password matches: an unknown name takes as long as a wrong password."""
        return self._hasher.hash("no account has this password")

    def hash(self, password: str) -> str:
        with self._slots:
            return self._hasher.hash(_normal(password))

    def matches(self, password: str, stored: str | None) -> bool:
        """Whether the password fits; ``stored`` None (no such account) takes as long and fails."""
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > MAX_LENGTH:
            return False
        with self._slots:
            try:
                self._hasher.verify(stored or self._nobodys, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)
