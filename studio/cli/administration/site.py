"""``studio init``, ``studio backup`` and ``studio restore``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from studio.cli.caller import open_as_caller
from studio.cli.output import emit, json_option, read_bytes
from watermark.cli.paths import INPUT, OutputFolder

__all__ = ["backup", "init", "restore"]


@click.command("init")
@click.argument("target", metavar="[DIR]", required=False, type=OutputFolder())
@json_option
def init(target: Path | None, as_json: bool) -> None:
    """Write an editable copy of the configuration to DIR.

    DIR is by default $STUDIO_CONFIGS or, where that is not set, `configs` in the studio's home.
    Both are found without further ado; for any other DIR set STUDIO_CONFIGS. Nothing is
    overwritten.
    """
    from studio.core.paths import default_configs, resolve_paths, write_configs

    found = default_configs(resolve_paths().home)
    target = target or found
    write_configs(target)
    if as_json:
        emit({"configs": str(target.resolve())})
        return
    click.echo(f"wrote {target}; edit {target / 'studio.yaml'} and what lies beside it")
    if target.resolve() != found.resolve():
        click.echo(f"for the studio to use it: export STUDIO_CONFIGS={target.resolve()}")


@click.command("backup")
@click.argument("target", metavar="DIR", type=OutputFolder())
@click.option("--with-keys", is_flag=True, help="Put the secret keys in as well.")
@json_option
def backup(target: Path, with_keys: bool, as_json: bool) -> None:
    """Back up the running studio to the empty folder DIR, and verify the backup.

    The secret keys stay out unless asked for: whoever has them can forge seals and checkpoints.
    Without them a restored studio recognises nothing, so back them up as well, elsewhere.
    """
    with open_as_caller() as session:
        manifest = session.operation.back_up(target, with_keys=with_keys)
    if as_json:
        emit(asdict(manifest))
        return
    keys = "with" if manifest.with_keys else "WITHOUT"
    click.echo(f"{manifest.size} entries, {len(manifest.files)} files, {keys} the secret keys")
    click.echo(f"tree head {manifest.tree_head}")


@click.command("restore")
@click.argument("source", metavar="DIR", type=INPUT)
@click.option(
    "--public-key",
    type=INPUT,
    help="The backup must be signed by a key of this file; `studio ledger key` prints them.",
)
@click.option(
    "--against",
    type=INPUT,
    multiple=True,
    help="A checkpoint that the backup must continue; may be given several times.",
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Restore even if a checkpoint shows that later entries are lost.",
)
@click.option(
    "--accept-unsigned", is_flag=True, help="Restore an unsigned backup of before version 0.2."
)
@json_option
def restore(
    source: Path,
    public_key: Path | None,
    against: tuple[Path, ...],
    accept_loss: bool,
    accept_unsigned: bool,
    as_json: bool,
) -> None:
    """Verify the backup in DIR and restore it to an empty home ($STUDIO_HOME).

    It is held against the keys and the newest checkpoint outside the home as well, where there are
    any. Consent is closed afterwards, until `studio consent confirm-restore`. A restore that was
    interrupted is begun anew by the same command.
    """
    from studio.app.operation.restore import Evidence, restore_home
    from studio.provenance.ledger.checkpoints.public_keys import read_keys

    evidence = Evidence(
        keys=read_keys(_text(public_key)) if public_key else (),
        checkpoints=tuple(_text(path) for path in against),
        accept_unsigned=accept_unsigned,
        accept_loss=accept_loss,
    )
    restored = restore_home(source, evidence)
    for warning in restored.warnings():
        click.secho(f"WARNING: {warning}", err=True, bold=True)
    manifest = restored.manifest
    if as_json:
        emit(restored.to_json())
        return
    click.echo(f"restored {manifest.size} entries as of {manifest.made_at}, verified")
    if not manifest.with_keys:
        click.echo("the backup holds no keys: put them into the home before the studio starts")


def _text(path: Path) -> str:
    return read_bytes(path).decode(errors="replace")
