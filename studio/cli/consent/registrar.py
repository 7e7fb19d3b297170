"""``studio consent ...``: the registrar's commands, and lists for everybody.

What rights holders do on their own machines (keys, signing) is
:mod:`studio.cli.consent.rights_holder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio.accounts.permissions import Permission
from studio.cli.caller import open_as_caller
from studio.cli.consent.rights_holder import (
    fingerprint,
    grant,
    holder_new,
    holder_rotate,
    keygen,
    revoke,
    sign_shipped,
    tags,
)
from studio.cli.generation.generate import scope_options, split_tags, tags_option
from studio.cli.output import (
    DONE,
    NEGATIVE,
    UNREADABLE,
    emit,
    json_option,
    read_bytes,
    write_output,
)
from studio.core.errors import ConsentFileError, UnreadableProofError, UsageError
from watermark.cli.numbers import Count
from watermark.cli.paths import INPUT, OutputFile
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.consent.administration import ImportReport

__all__ = ["consent"]

_FILE = INPUT


@click.group()
def consent() -> None:
    """Signed consent: sign, import, list and revoke grants."""


@consent.group()
def holder() -> None:
    """Rights holders and their keys."""


for _command in (keygen, fingerprint, grant, revoke, tags, sign_shipped):
    consent.add_command(_command)
for _command in (holder_new, holder_rotate):
    holder.add_command(_command)


@consent.command()
@json_option
def site(as_json: bool) -> None:
    """Print this studio's site id, which a grant names as its audience."""
    with open_as_caller() as session:
        found = {"site": session.consent.site_id(), "name": session.config.consent.studio}
    if as_json:
        emit(found)
    else:
        click.echo(found["site"])


@consent.command("confirm-restore")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def confirm_restore(yes: bool, as_json: bool) -> None:
    """Reopen consent after a restore, once all later revocations are imported.

    Import every revocation that came in after the backup was made first.
    """
    with open_as_caller() as session:
        restoration = session.consent.restoration()
        if restoration is not None and not yes:
            click.echo(restoration.text(), err=True)
            click.confirm(
                f"Is every revocation since {restoration.made_at} imported?", abort=True, err=True
            )
        entry = session.consent.confirm_restore()
    if as_json:
        emit({"entry": entry})
    else:
        click.echo(f"consent is open again; entry {entry} says so")


@consent.command("repair-clock")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def repair_clock(yes: bool, as_json: bool) -> None:
    """Correct the times of entries recorded while the clock was ahead.

    For a studio whose clock stood years ahead for a while, so that its grants seem to have ended.
    Set the clock right first. The entries stay as they are; the repair is one of its own.
    """
    with open_as_caller() as session:
        session.require(Permission.CONSENT)
        if not yes:
            click.confirm("Is this machine's clock right now?", abort=True, err=True)
        body = session.consent.repair_clock()
    if as_json:
        emit(body)
    else:
        click.echo(
            f"entries {body['first']} to {body['last']} count as of {body['held_as']}, as far as "
            "consent is concerned"
        )


@consent.command("list")
@json_option
def list_grants(as_json: bool) -> None:
    """List every grant with its scope, its term and its state."""
    with open_as_caller() as session:
        statuses = session.consent.grants()
    for status in statuses:
        body = status.to_json()
        if as_json:
            emit(body)
            continue
        grant, holder = status.grant, status.holder
        until = "until revoked" if grant.valid_until is None else f"to {body['valid_until'][:10]}"
        click.echo(f"{grant.id}: {holder.name} ({holder.kind}), {status.state}")
        click.echo(f"  term         {body['valid_from'][:10]} {until}")
        if status.revoked_at is not None:
            click.echo(f"  REVOKED      {body['revoked_at']} {status.revocation_reason}".rstrip())
        for name in ("uses", "territories", "models", "tags"):
            click.echo(f"  {name:12} {', '.join(body[name])}")
        click.echo(f"  outputs      {status.outputs} ({status.seconds:g} s)")


@consent.command()
@tags_option
@scope_options
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    tags: str,
    use: str | None,
    territory: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Say for each tag whether it is granted now, by which grant or why not."""
    with open_as_caller() as session:
        decision = session.catalog.decide(
            split_tags(tags), use=use, territory=territory, model=model
        )
    if as_json:
        emit(decision.to_json())
    else:
        for answer in decision.tags:
            click.echo(f"{'+' if answer.granted else '-'} {answer.explanation}")
    ctx.exit(DONE if decision.allowed else NEGATIVE)


@consent.command("import")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@json_option
@click.pass_context
def import_files(ctx: click.Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Import the signed documents in FILES; exit with 1 if one is refused.

    A file that cannot be read does not stop the others; the exit code is 3 then.
    """
    code = DONE
    with open_as_caller() as session:
        for path in files:
            try:
                report = session.consent.import_file(read_bytes(path))
            except (UnreadableProofError, ConsentFileError) as exc:
                click.echo(f"studio: {printable(path.name)}: {exc}", err=True)
                code = UNREADABLE
                continue
            code = max(code, _report(report, as_json))
    ctx.exit(code)


@consent.command()
@click.argument("holder", required=False)
@click.option(
    "--fingerprint", help="Of HOLDER's key, as docs/consent.md gives it; asked for if left out."
)
@json_option
@click.pass_context
def shipped(ctx: click.Context, holder: str | None, fingerprint: str | None, as_json: bool) -> None:
    """List the consent shipped with this version, or import that of HOLDER.

    A new studio takes all of it in at its first start. One that runs already takes in what a newer
    version adds with this command, after its operator has compared the fingerprint of the key.
    """
    with open_as_caller() as session:
        if holder is not None:
            told = fingerprint or click.prompt("Fingerprint of its key", err=True)
            ctx.exit(_report(session.consent.admit_shipped(holder, told), as_json))
        if fingerprint is not None:
            raise UsageError("name the HOLDER whose key has this fingerprint")
        files = session.consent.shipped()
    for file in files:
        body = file.to_json()
        if as_json:
            emit(body)
            continue
        state = {"recorded": "taken in", "new": "not taken in", "refused": "not for this studio"}
        click.echo(f"{file.name}: {body['name']} ({body['kind']}), {state[file.state]}")
        if file.refusal is not None:
            click.echo(f"  {file.refusal.why}")
        elif file.pending:
            for about in body["pending"]:
                click.echo(f"  {about}")
            click.echo(f"  key {body['fingerprint']}")
            click.echo(f"  compare the key, then: studio consent shipped {body['holder']}")


@consent.command()
@click.option("--holder", help="Only the documents of this rights holder.")
@click.option("--out", required=True, type=OutputFile(), help="Where the file goes.")
def export(holder: str | None, out: Path) -> None:
    """Export the signed documents to a file, for another studio or a backup."""
    with open_as_caller() as session:
        write_output(out, session.consent.export(holder))


@consent.command()
@click.argument("grant")
@json_option
def preview(grant: str, as_json: bool) -> None:
    """Show what revoking GRANT would do now: outputs, and tags nobody else grants."""
    with open_as_caller() as session:
        effect = session.consent.preview_revocation(grant)
    if as_json:
        emit(effect.to_json())
        return
    click.echo(f"{grant} of {effect.holder.name}; on revocation: {effect.on_revocation}")
    click.echo(f"  {len(effect.outputs)} outputs, {effect.seconds:g} s of music")
    for tag, uses in effect.dark_tags:
        click.echo(f"  {tag} would no longer be granted for {', '.join(uses)}")


@consent.command()
@click.argument("grant")
@json_option
def outputs(grant: str, as_json: bool) -> None:
    """List the outputs made under GRANT, and whether each may be downloaded."""
    with open_as_caller() as session:
        affected = session.consent.affected_outputs(grant)
    for one in affected:
        if as_json:
            emit(one.to_json())
        else:
            output = one.output
            click.echo(
                f"{output.output_id} {output.created_at:%Y-%m-%d} {output.duration_s:6.1f} s "
                f"{one.distribution:20} {output.title}"
            )


@holder.command("list")
@json_option
def list_holders(as_json: bool) -> None:
    """List every rights holder with the fingerprint of its key."""
    with open_as_caller() as session:
        statuses = session.consent.holders()
    for status in statuses:
        if as_json:
            emit(status.to_json())
            continue
        who = status.holder
        click.echo(f"{who.id}: {who.name} ({who.kind}), {status.live_grants} live grants")
        click.echo(f"  {status.fingerprint}")


_fingerprint_option = click.option(
    "--fingerprint", required=True, help="As the holder read it to you, not from the file."
)


@holder.command()
@click.argument("file", type=_FILE)
@_fingerprint_option
@json_option
@click.pass_context
def admit(ctx: click.Context, file: Path, fingerprint: str, as_json: bool) -> None:
    """Admit the rights holder in FILE after comparing the key's fingerprint.

    What else the holder signed in FILE (tags, grants) is recorded with it.
    """
    with open_as_caller() as session:
        ctx.exit(_report(session.consent.admit_holder(read_bytes(file), fingerprint), as_json))


@holder.command("override-key")
@click.argument("file", type=_FILE)
@_fingerprint_option
@click.option(
    "--because",
    required=True,
    type=click.Choice(["lost", "compromised"]),
    help="What happened to the old key; stands in the ledger.",
)
@json_option
@click.pass_context
def override_key(
    ctx: click.Context, file: Path, fingerprint: str, because: str, as_json: bool
) -> None:
    """Accept a new key that the old key did not sign; recorded in the ledger."""
    with open_as_caller() as session:
        report = session.consent.override_key(read_bytes(file), fingerprint, lost=because == "lost")
    ctx.exit(_report(report, as_json))


@consent.command()
@click.option("--grants", type=Count(1), default=100_000, show_default=True)
@click.option("--recorded", type=Count(30), default=1000, show_default=True)
def bench(grants: int, recorded: int) -> None:
    """Measure decisions per second over --grants, and a revocation's time to effect."""
    from studio.consent.administration.benchmark import measure_decisions, measure_revocation
    from studio.core.paths import resolve_paths
    from studio.core.tags import Vocabulary

    tags = list(Vocabulary.drafted(resolve_paths().consent))
    emit({"decisions": measure_decisions(grants, tags)})
    emit({"revocation": measure_revocation(recorded)})


def _report(report: ImportReport, as_json: bool) -> int:
    """Print what became of a file; the exit code."""
    for document in report.documents:
        if as_json:
            emit(document.to_json())
        else:
            click.echo(document.line(), err=not document.accepted)
    for output_id in report.withdrawn:
        if as_json:
            emit({"withdrawn": output_id})
        else:
            click.echo(f"withdrawn: output {output_id}, its audio is removed")
    return DONE if report.ok else NEGATIVE
