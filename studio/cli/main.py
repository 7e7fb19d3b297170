"""The ``studio`` command: parse, call a session's use case, print, exit code.

With ``--json`` every command prints one JSON object a line on stdout; messages for people go to
stderr. Exit codes: 0 done; 1 a negative verdict, a refusal or a cancellation; 2 wrong usage or
configuration; 3 unreadable input; 4 the studio itself failed (model, ledger, disk).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from studio.cli.administration.accounts import account, login, logout, whoami
from studio.cli.administration.ledger import ledger
from studio.cli.administration.reports import disclosure, names, statement, usage
from studio.cli.administration.security_log import audit
from studio.cli.administration.site import backup, init, restore
from studio.cli.caller import open_as_caller
from studio.cli.consent.registrar import consent
from studio.cli.generation.download import download
from studio.cli.generation.generate import (
    extend,
    generate,
    lineage,
    scope_options,
    vary,
)
from studio.cli.generation.publication import publish, share, unpublish, unshare
from studio.cli.generation.stems import score, stems
from studio.cli.models.benchmark import models_bench
from studio.cli.models.training import house
from studio.cli.output import FAILED, NEGATIVE, UNREADABLE, WRONG_USAGE, emit
from studio.cli.verification.calibrate_reader import calibrate_reader
from studio.cli.verification.case import case
from studio.cli.verification.credentials import credentials, receipt
from studio.cli.verification.verify import scan, verify
from studio.cli.verification.watch import watch
from studio.cli.worker import worker
from studio.core.errors import (
    AccessDeniedError,
    ConfigError,
    ConsentFileError,
    ConsentRefusedError,
    GenerationCancelledError,
    ProofError,
    RequestRefusedError,
    SealingError,
    SignInError,
    StudioError,
    UnreadableProofError,
    UsageError,
)
from studio.core.tags import listing_key
from watermark.cli.numbers import Count
from watermark.cli.process import CommandGroup, verbose_option

if TYPE_CHECKING:
    from studio.app.use_cases.catalog import TagStatus

__all__ = ["cli", "exit_code", "main"]


def exit_code(error: StudioError) -> int:
    """The one place where an error becomes an exit code.

    >>> exit_code(ConsentRefusedError("no")), exit_code(UsageError("what?"))
    (1, 2)
    """
    if isinstance(
        error, ConsentRefusedError | RequestRefusedError | SealingError | GenerationCancelledError
    ):
        return NEGATIVE
    if isinstance(error, AccessDeniedError | SignInError | ProofError):
        return NEGATIVE
    if isinstance(error, UnreadableProofError | ConsentFileError):
        return UNREADABLE
    if isinstance(error, UsageError | ConfigError):
        return WRONG_USAGE
    return FAILED


class _StudioGroup(CommandGroup):
    """Gives the studio's errors a line on stderr and an exit code."""

    error_label = "studio"

    def explained(self, error: BaseException) -> tuple[int, str] | None:
        return (exit_code(error), str(error)) if isinstance(error, StudioError) else None


@click.group(cls=_StudioGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consented-music-studio", message="%(version)s")
@click.option(
    "--as-owner", is_flag=True, help="Act without an account, as the owner of the studio's files."
)
@verbose_option
def cli(as_owner: bool) -> None:
    """Generative music on consented style tags; every output is watermarked."""


def main() -> None:
    """Console entry point."""
    os.umask(0o077)  # what is written is its owner's alone; what is public says so itself
    cli(prog_name="studio")


for _command in (account, login, logout, whoami):
    cli.add_command(_command)
cli.add_command(house)
cli.add_command(consent)
for _command in (
    generate,
    score,
    stems,
    download,
    vary,
    extend,
    lineage,
    publish,
    unpublish,
    share,
    unshare,
    statement,
    disclosure,
    names,
    usage,
):
    cli.add_command(_command)
cli.add_command(ledger)
cli.add_command(credentials)
cli.add_command(receipt)
cli.add_command(scan)
cli.add_command(verify)
cli.add_command(watch)
cli.add_command(case)
cli.add_command(calibrate_reader)
cli.add_command(audit)
cli.add_command(init)
cli.add_command(backup)
cli.add_command(restore)
cli.add_command(worker)


# -- options that several commands share -----------------------------------------------------------


_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


# -- commands --------------------------------------------------------------------------------------


def page_address(host: str, port: int) -> str:
    """The address of the page, for a browser.

    >>> page_address("localhost", 7860), page_address("::1", 7860)
    ('http://localhost:7860/', 'http://[::1]:7860/')
    """
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@cli.command()
@click.option("--host", help="Address to listen on; this machine only by default.")
@click.option("--port", type=Count(1, 65535), help="Port to listen on.")
@click.option(
    "--public-detector",
    is_flag=True,
    help="Let anybody ask at /detect, without an account, whether a recording is from here.",
)
@click.option("--mcp", is_flag=True, help="Serve the tools for assistants at /mcp as well.")
@click.option(
    "--workers",
    type=Count(1, 64),
    help="Servers that share a PostgreSQL database, on this port and the next ones; music is made "
    "by `studio worker`.",
)
@click.option("--replica", type=Count(1, 64), hidden=True, help="Be one of so many servers.")
def serve(
    host: str | None,
    port: int | None,
    public_detector: bool,
    mcp: bool,
    workers: int | None,
    replica: int | None,
) -> None:
    """Serve the web page and the REST API until interrupted.

    One process that makes the music itself. With --workers N processes serve and `studio worker`
    makes the music: see docs/operating.md.
    """
    from studio.app.gateway import open_gateway
    from studio.web.server import serve as run
    from studio.web.server import supervise

    with open_gateway() as gateway:  # whoever may start it; what visitors may do is decided there
        workers = None if replica else workers or gateway.config.server.workers
        if workers:
            supervise(gateway, workers, host, port, public_detector=public_detector, mcp=mcp)
            return
        for line in gateway.recover().lines():
            click.echo(f"studio: {line}", err=True)
        address = gateway.config.server
        click.echo(page_address(host or address.host, port or address.port), err=True)
        run(
            gateway,
            host=host,
            port=port,
            public_detector=public_detector,
            mcp=mcp,
            workers=replica or 0,
        )


@cli.command()
def mcp() -> None:
    """Serve read-only tools for an assistant over stdin and stdout (Model Context Protocol).

    Tools: verify_audio, list_tags, get_output, check_proof, with the rights of the account that is
    signed in. Over HTTP: studio serve --mcp.
    """
    from studio.web.mcp.stdio import serve_stdio

    with open_as_caller() as session:
        serve_stdio(session)


@cli.command()
@scope_options
@_json_option
def tags(use: str | None, territory: str | None, model: str | None, as_json: bool) -> None:
    """List the style tags, who granted each for this use, and why one is refused.

    A tag is marked with + where music can be made with it: it is granted, and the model knows it.
    """
    with open_as_caller() as session:
        model = model or session.config.generation.model
        statuses = session.catalog.tag_status(model=model, use=use, territory=territory)
    kind = None
    for status in sorted(statuses, key=lambda status: listing_key(status.tag)):
        if as_json:
            emit(_tag_json(status))
            continue
        if kind not in (None, status.tag.kind):
            click.echo()
        kind = status.tag.kind
        mark = "+" if status.granted and status.known_to_model else "-"
        unknown = "" if status.known_to_model else f"; the model {model} does not know it"
        said = status.explanation.split(": ", 1)[1]
        click.echo(f"{mark} {status.tag.id:22} {said}{unknown}")


@cli.group()
def models() -> None:
    """The generation models, their licences and what they were trained on."""


models.add_command(models_bench)


@models.command("list")
@_json_option
def models_list(as_json: bool) -> None:
    """List the configured models and the uses their licences permit."""
    with open_as_caller() as session:
        for config in session.catalog.models().values():
            if as_json:
                emit(_model_json(config))
            else:
                uses = ", ".join(sorted(config.licence_uses))
                click.echo(f"{config.id:32} {config.licence:16} {uses}")


@models.command("fetch")
@click.argument("model")
@click.option("--accept-licence", metavar="NAME", help="Accept this licence without being asked.")
@_json_option
def models_fetch(model: str, accept_licence: str | None, as_json: bool) -> None:
    """Fetch the files of hub model MODEL over the network, and pin them.

    A fetch that was stopped goes on where it was.
    """
    from studio.cli.generation.progress import said_in_tenths

    with open_as_caller() as session:
        config = session.catalog.models().get(model)
        if config is not None and accept_licence is None and not as_json:
            size = f"about {config.download_mb} MB" if config.download_mb else "size not known"
            click.echo(f"{config.title}, {size}, {config.licence}", err=True)
            uses = ", ".join(sorted(config.licence_uses))
            if click.confirm(f"Its licence permits: {uses}. Accept {config.licence}?", err=True):
                accept_licence = config.licence
        pins = session.models.fetch(model, accepted_licence=accept_licence, report=said_in_tenths())
    if as_json:
        emit({"model": model, "commit": pins.commit, "sha256": dict(pins.digests)})
        return
    click.echo(f"commit  {pins.commit}")
    for name, digest in pins.digests.items():
        click.echo(f"{name}  sha256 {digest}")


@models.command("info")
@click.argument("model")
@_json_option
def models_info(model: str, as_json: bool) -> None:
    """Show one MODEL: licence, training basis, digest, rate, tags it knows."""
    from studio.music.models.config import describe

    with open_as_caller() as session:
        config = session.catalog.models().get(model)
    if config is None:
        raise UsageError(f"unknown model {model!r}; `studio models list` lists them")
    info = describe(config)
    body = _model_json(config) | {
        "digest": info.digest,
        "rate": info.rate,
        "channels": info.channels,
        "max_duration_s": info.max_duration_s,
        "tags": None if info.tags is None else sorted(info.tags),
    }
    if as_json:
        emit(body)
        return
    for name, value in body.items():
        if name == "tags":
            value = "any, by its wording" if value is None else ", ".join(value)  # noqa: PLW2901 - shown form
        elif isinstance(value, list):
            value = ", ".join(value)  # noqa: PLW2901 - shown form
        click.echo(f"{name:16} {value}")


# -- what is printed -------------------------------------------------------------------------------


def _tag_json(status: TagStatus) -> dict[str, Any]:
    return {
        "tag": status.tag.id,
        "kind": status.tag.kind,
        "granted": status.granted,
        "holders": list(status.holders),
        "grants": list(status.grants),
        "valid_until": None if status.valid_until is None else status.valid_until.isoformat(),
        "reason": status.reason,
        "known_to_model": status.known_to_model,
    }


def _model_json(config: Any) -> dict[str, Any]:
    return {
        "id": config.id,
        "title": config.title,
        "kind": config.kind,
        "licence": config.licence,
        "licence_uses": sorted(config.licence_uses),
        "training_basis": config.training_basis.strip(),
    }
