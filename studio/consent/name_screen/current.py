"""The name screen over the lists and the consent as they are now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from studio.consent.name_screen.screen import NameScreen, load_screen

if TYPE_CHECKING:
    from studio.consent import ConsentRegistry
    from studio.core.tags import Vocabulary

__all__ = ["CurrentScreen"]


class CurrentScreen:
    """Makes the screen anew after a change of consent or of a list.

    Args:
        registry: the consent of now.
        vocabulary: the tags of now.
        folder: the lists of names, ``*.txt``.
    """

    def __init__(
        self,
        registry: Callable[[], ConsentRegistry],
        vocabulary: Callable[[], Vocabulary],
        folder: Path,
    ) -> None:
        self._registry = registry
        self._vocabulary = vocabulary
        self._folder = folder
        self._known: tuple[object, NameScreen, Mapping[str, frozenset[str]]] | None = None

    def screen(self) -> NameScreen:
        """The name screen for typed texts."""
        return self._now()[0]

    def named_tags(self) -> Mapping[str, frozenset[str]]:
        """Whose name each tag that spells one is."""
        return self._now()[1]

    def _now(self) -> tuple[NameScreen, Mapping[str, frozenset[str]]]:
        consent = self._registry()
        lists = ((path.name, path.stat().st_mtime_ns) for path in self._folder.glob("*.txt"))
        state = (consent.version, *lists)
        known = self._known
        if known is None or known[0] != state:
            holders, vocabulary = consent.holders.values(), self._vocabulary()
            screen = load_screen(self._folder, holders, vocabulary)
            known = self._known = state, screen, screen.named_tags(vocabulary, holders)
        return known[1], known[2]
