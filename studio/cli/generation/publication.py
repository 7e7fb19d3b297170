"""``studio publish`` and ``studio unpublish``: an output's public record."""

from __future__ import annotations

import click

from studio.cli.caller import open_as_caller

__all__ = ["publish", "unpublish"]


@click.command()
@click.argument("output_id")
def publish(output_id: str) -> None:
    """Let the public detector tell the title, credits and id of OUTPUT_ID.

    Until then it only says that a recording is from here. Recorded in the ledger.
    """
    with open_as_caller() as session:
        session.outputs.publish(output_id)
    click.echo(f"{output_id} is public")


@click.command()
@click.argument("output_id")
def unpublish(output_id: str) -> None:
    """Make OUTPUT_ID private: the public detector no longer tells its title.

    Recorded in the ledger."""
    with open_as_caller() as session:
        session.outputs.publish(output_id, public=False)
    click.echo(f"{output_id} is private")
