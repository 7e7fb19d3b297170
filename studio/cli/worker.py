"""``studio worker``: a process that makes music for servers."""

from __future__ import annotations

import signal
from types import FrameType

import click

from watermark.cli.numbers import Count, Number

__all__ = ["worker"]


@click.command()
@click.option("--models", help="Models it plays, with commas; all that are configured by default.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the house model's sound is computed.",
)
@click.option(
    "--jobs", type=Count(1, 16), default=1, show_default=True, help="Jobs it works at at a time."
)
@click.option(
    "--grace",
    type=Number(),
    default=60.0,
    show_default=True,
    help="Seconds for jobs at work once it shall end; then they go back in line.",
)
def worker(models: str | None, device: str, jobs: int, grace: float) -> None:
    """Make music for `studio serve --workers`, out of the line in the shared database.

    Start as many as there is work for, on any machine that has the home and the database.
    SIGTERM ends it in order: no job is lost.
    """
    from studio.app.gateway import open_gateway

    names = tuple(name.strip() for name in (models or "").split(",") if name.strip())
    with open_gateway() as gateway:
        working = gateway.worker(names, jobs=jobs, device=device, grace_s=grace)
        gateway.keep_watch()
        stopped_by: list[int] = []

        def end(number: int, _frame: FrameType | None) -> None:
            stopped_by.append(number)
            working.end()

        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, end)
        gateway.load_models(names)
        click.echo(f"studio: worker {working.worker_id} takes jobs", err=True)
        working.run()
        for each in (signal.SIGTERM, signal.SIGINT):  # as Python ends it drops handlers
            signal.signal(each, signal.SIG_IGN)
        if stopped_by and stopped_by[0] == signal.SIGINT:
            raise KeyboardInterrupt
