"""``studio publish``, ``unpublish``, ``share``, ``unshare``: what others may see of an output."""

from __future__ import annotations

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import emit, json_option

__all__ = ["publish", "share", "unpublish", "unshare"]


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


@click.command()
@click.argument("output_id")
@json_option
def share(output_id: str, as_json: bool) -> None:
    """Print a link that shows OUTPUT_ID to whoever holds it, without an account.

    It shows player, record, credits and receipt, until `studio unshare`. Recorded in the ledger.
    """
    with open_as_caller() as session:
        made = session.outputs.share(output_id)
        url = made.url(session.config.server.address)
    if as_json:
        emit({"output_id": output_id, "url": url, "entry": made.entry_index})
    else:
        click.echo(url)


@click.command()
@click.argument("output_id")
def unshare(output_id: str) -> None:
    """Withdraw the link of OUTPUT_ID; shared again, it gets another one.

    Recorded in the ledger."""
    with open_as_caller() as session:
        session.outputs.share(output_id, shared=False)
    click.echo(f"{output_id} is not shared")
