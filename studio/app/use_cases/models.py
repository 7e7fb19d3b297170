"""Fetch the files of hub models; for administrators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studio.accounts.permissions import Permission
from studio.app.use_cases.base import UseCases, requires
from studio.core.errors import UsageError

if TYPE_CHECKING:
    from studio.app.container import Container
    from studio.music.models.fetching import Fetched, Pins

__all__ = ["FetchOffer", "Models"]


@dataclass(frozen=True, slots=True)
class FetchOffer:
    """A hub model that is not on this machine; ``megabytes`` is an estimate of what it takes."""

    model: str
    title: str
    licence: str
    licence_uses: tuple[str, ...]
    training_basis: str
    megabytes: int | None


class Models(UseCases):
    """The files of hub models on this machine."""

    @requires(Permission.ADMINISTER)
    def offers(self, studio: Container) -> list[FetchOffer]:
        """What can be fetched: every model of the hub that is not here."""
        from studio.music.models.presence import is_here

        return [
            FetchOffer(
                config.id,
                config.title,
                config.licence,
                tuple(sorted(config.licence_uses)),
                config.training_basis.strip(),
                config.download_mb,
            )
            for config in studio.models().values()
            if config.kind == "hub" and config.path is None and not is_here(config)
        ]

    @requires(Permission.ADMINISTER)
    def check_fetch(self, studio: Container, model: str, accepted_licence: str | None) -> None:
        """Refuse at once what :meth:`fetch` would refuse. Raises :class:`UsageError`."""
        config = studio.models().get(model)
        if config is None or config.kind != "hub" or config.path is not None:
            raise UsageError(f"there is no model {model!r} that could be fetched from the hub")
        if accepted_licence != config.licence:
            raise UsageError(
                f"{config.title} is under {config.licence}: accept this licence by its name to "
                "fetch it"
            )

    @requires(Permission.ADMINISTER)
    def fetch(
        self,
        studio: Container,
        model: str,
        *,
        accepted_licence: str | None,
        report: Callable[[Fetched], None] = lambda _: None,
        cancel: threading.Event | None = None,
    ) -> Pins:
        """Fetch a model's files, or what of them is missing, and pin commit and digests.

        The licence has to be accepted by its name. Asks the hub over the network, whatever
        ``HF_HUB_OFFLINE`` says. Raises :class:`UsageError`, and as
        :func:`studio.music.models.fetching.fetch` does.
        """
        self.check_fetch(model, accepted_licence)
        pins = studio.fetch_model(model, report=report, cancel=cancel)
        studio.security_log().record(
            "model-fetch", detail=f"{model} {pins.commit[:12]}, licence {accepted_licence}"
        )
        return pins
