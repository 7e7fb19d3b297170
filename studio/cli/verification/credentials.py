"""``studio receipt`` and ``studio credentials``: receipts and C2PA manifests."""

from __future__ import annotations

from pathlib import Path

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, NEGATIVE, emit, json_option, write_output
from studio.core.errors import UnreadableProofError
from watermark.cli.paths import INPUT, OutputFile
from watermark.cli.process import printable

__all__ = ["credentials", "receipt"]

_out_option = click.option("--out", required=True, type=OutputFile(), help="Where to put it.")


@click.command()
@click.argument("output_id")
@click.option("--url", help="Of the verification page, for people who hold the receipt.")
@_out_option
def receipt(output_id: str, url: str | None, out: Path) -> None:
    """Write the receipt of OUTPUT_ID: one page, HTML or PDF by the extension of --out."""
    format = out.suffix.lower().removeprefix(".")
    with open_as_caller() as session:
        write_output(out, session.outputs.receipt(output_id, format, url=url))


@click.group()
def credentials() -> None:
    """Content Credentials (C2PA): check those of a file, export ours."""


@credentials.command("root")
def credentials_root() -> None:
    """Print the root certificates of our signatures (PEM), for C2PA readers."""
    with open_as_caller() as session:
        click.echo(session.verification.root_certificates(), nl=False)


@credentials.command("show")
@click.argument("file", type=INPUT)
@json_option
@click.pass_context
def credentials_show(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Check the Content Credentials in FILE. The watermark is not read."""
    with open_as_caller() as session:
        try:
            found = session.verification.credentials(file)
        except OSError as exc:
            raise UnreadableProofError(f"cannot read {file.name}: {exc.strerror}") from exc
    body = found.to_json() | {"file": file.name, "claims": dict(found.reading.claims)}
    if as_json:
        emit(body)
    else:
        click.echo(f"{printable(file.name)}: {body['state']}")
        click.echo(f"  {body['explanation']}")
        for label in body["claims"]:
            click.echo(f"  claims {label}")
    ctx.exit(DONE if body["state"] == "trusted" else NEGATIVE)


@credentials.command("export")
@click.argument("output_id")
@_out_option
def credentials_export(output_id: str, out: Path) -> None:
    """Write the signed manifest of OUTPUT_ID, a C2PA sidecar, from the ledger."""
    with open_as_caller() as session:
        write_output(out, session.outputs.manifest(output_id))
