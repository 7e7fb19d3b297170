"""``studio ledger ...``: read, audit, sign checkpoints, make and check proofs.

``check-proof`` opens no studio: it needs the bundle and the public key, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio.accounts.permissions import Permission
from studio.cli.caller import open_as_caller
from studio.cli.output import DONE, NEGATIVE, emit, json_option, read_bytes, write_output
from watermark.cli.numbers import Count
from watermark.cli.paths import INPUT, OutputFile
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.provenance.ledger.checkpoints.signed_note import VerifierKey

__all__ = ["ledger"]

_FILE = INPUT
_public_key_option = click.option(
    "--public-key", type=_FILE, help="File of public keys; `studio ledger key` prints ours."
)


@click.group()
def ledger() -> None:
    """The append-only log of releases, refusals, consent and keys."""


@ledger.command("show")
@click.option("--kind", help="Only entries of this kind: release, refusal, verification, ...")
@click.option("--entry", "index", type=Count(0), help="This one entry, whole.")
@click.option("--limit", type=Count(1), default=20, show_default=True, help="Newest so many.")
@json_option
def show(kind: str | None, index: int | None, limit: int, as_json: bool) -> None:
    """Show the newest entries, in the order they were recorded."""
    with open_as_caller() as session:
        if index is not None:
            emit(session.records.entry(index))
            return
        entries = session.records.entries(kind=kind, limit=limit)
    for entry in reversed(entries):
        body = entry.to_json()
        if as_json:
            emit(body)
        else:
            click.echo(f"{entry.index:6} {body['at'][:19]}Z {entry.kind:13} {_summary(entry.body)}")


@ledger.command("verify")
@click.option("--against", type=_FILE, help="An earlier checkpoint that the ledger must continue.")
@_public_key_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context, against: Path | None, public_key: Path | None, as_json: bool
) -> None:
    """Recompute every entry, hash and tree head; name the first bad entry.

    Accounts, owners, consent, manifests and what else stands beside the entries are held against
    them. The ledger is also held against the newest checkpoint that was kept, and against the one
    of --against: only that finds a ledger cut off or rewritten whole.
    """
    given, keys = (None if path is None else _text(path) for path in (against, public_key))
    with open_as_caller() as session:
        found = session.records.check(against=given, public_keys=keys)
    audit = found.audit
    if as_json:
        emit(
            {
                "ok": found.ok,
                "size": audit.size,
                "tree_head": audit.tree_head.hex(),
                "first_bad_index": audit.first_bad_index,
                "fault": audit.fault,
                "missing_triggers": list(audit.unguarded),
                "faults_beside": list(found.faults_beside),
                "clock_set_back": list(audit.clock_set_back),
                "checkpoint_size": found.checkpoint_size,
                "checkpoint_fault": found.checkpoint_fault,
            }
        )
    else:
        if audit.fault is not None:
            click.echo(f"entry {audit.first_bad_index}: {audit.fault}")
        for name in audit.unguarded:
            click.echo(f"the trigger {name} is missing: rows could have been changed")
        for fault in found.faults_beside:
            click.echo(fault)
        if found.checkpoint_fault is not None:
            click.echo(found.checkpoint_fault)
        if found.ok:
            click.echo(f"{audit.size} entries, all sound; tree head {audit.tree_head.hex()}")
        if found.checkpoint_size is not None and found.checkpoint_fault is None:
            click.echo(f"continues the checkpoint over {found.checkpoint_size} entries")
        for index in audit.clock_set_back:
            click.echo(f"note: the clock had been set back at entry {index}")
    ctx.exit(DONE if found.ok else NEGATIVE)


@ledger.command("checkpoint")
@click.option("--out", type=OutputFile(), help="Also write the checkpoint here.")
@json_option
def checkpoint(out: Path | None, as_json: bool) -> None:
    """Sign the ledger's size and head as they are now; print the signed note."""
    with open_as_caller() as session:
        signed = session.records.checkpoint()
    if out is not None:
        write_output(out, signed.note.encode())
    if as_json:
        emit(
            {
                "ledger": signed.checkpoint.origin,
                "size": signed.checkpoint.size,
                "tree_head": signed.checkpoint.head.hex(),
                "note": signed.note,
                "timestamped": signed.timestamp is not None,
            }
        )
    else:
        click.echo(signed.note, nl=False)


@ledger.command("key")
def key() -> None:
    """Print the public keys of checkpoints, oldest first, with retirement times."""
    from studio.provenance.ledger.checkpoints.public_keys import write_keys

    with open_as_caller() as session:
        click.echo(write_keys(session.records.public_keys()), nl=False)


@ledger.command("prove")
@click.argument("what", metavar="OUTPUT_ID|ENTRY")
@click.option("--out", type=OutputFile(), help="Write the bundle here instead of stdout.")
@click.option("--disclose", is_flag=True, help="Open the entry's personal values in it.")
def prove(what: str, out: Path | None, disclose: bool) -> None:
    """Make the offline proof that an output's release, or any entry, is in the ledger."""
    import json

    with open_as_caller() as session:
        bundle = session.records.prove(what, disclose=disclose)
    text = json.dumps(bundle, ensure_ascii=False, indent=1) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        write_output(out, text.encode())


@ledger.command("check-proof")
@click.argument("bundle", type=_FILE)
@click.option("--public-key", required=True, type=_FILE, help="File of public keys to believe.")
@click.option("--file", "file", type=_FILE, help="The file that the proven entry must speak of.")
@click.option(
    "--timestamp-roots", type=_FILE, help="PEM of roots under which its timestamp must stand."
)
@json_option
def check_proof(
    bundle: Path, public_key: Path, file: Path | None, timestamp_roots: Path | None, as_json: bool
) -> None:
    """Check a proof BUNDLE with the public key alone: no studio, no database."""
    from studio.provenance.ledger.checkpoints import timestamp
    from studio.provenance.ledger.proof_bundle import check_bundle, check_file

    proven = check_bundle(read_bytes(bundle), _keys(public_key))
    if file is not None:
        check_file(proven, read_bytes(file))
    seen = None
    if timestamp_roots is not None:
        seen = _timestamp(proven.timestamp, proven.checkpoint_note, timestamp_roots)
    if as_json:
        when = None if seen is None else timestamp.text(seen)
        emit({**proven.to_json(), "file_matches": True if file else None, "timestamp": when})
        return
    click.echo(
        f"holds: {proven.kind}, entry {proven.index} of {proven.checkpoint.origin}, {proven.at}"
    )
    if file is not None:
        click.echo(f"{printable(file.name)} is the file it speaks of")
    if seen is not None:
        click.echo(f"an authority saw the checkpoint at {timestamp.text(seen)}")


def _timestamp(response: bytes | None, note: str, roots: Path) -> Any:
    from studio.core.errors import ProofError
    from studio.provenance.ledger.checkpoints import timestamp

    if response is None:
        raise ProofError("the bundle holds no timestamp")
    return timestamp.check(response, note.encode(), timestamp.load_roots(roots))


@ledger.command("erase")
@click.argument("entry", type=Count(0))
@click.argument("field")
def erase(entry: int, field: str) -> None:
    """Erase a personal value kept beside ENTRY for good; proofs stay valid.

    `studio ledger show --entry N` lists what is kept, by FIELD.
    """
    with open_as_caller() as session:
        erasure = session.records.erase(entry, field)
    click.echo(f"erased; entry {erasure.index} says so. Backups made before still hold it.")


@ledger.command("accept-clock")
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept_clock(yes: bool) -> None:
    """Confirm that the clock is right after half a year without use."""
    with open_as_caller() as session:
        session.require(Permission.ADMINISTER)
        if not yes:
            click.confirm("Is this machine's clock right?", abort=True, err=True)
        entry = session.records.accept_clock()
    click.echo(f"accepted; entry {entry.index} says so")


@ledger.command("rotate-key")
@click.argument("purpose", type=click.Choice(["seal", "ledger"]))
def rotate_key(purpose: str) -> None:
    """Make a new watermark or ledger key; outputs of the old keys stay readable.

    A running studio uses it at once.
    """
    with open_as_caller() as session:
        number = session.operation.rotate_key("seal" if purpose == "seal" else "ledger")
    click.echo(f"{purpose} key {number} made; back up the keys folder")


def _keys(path: Path) -> Sequence[VerifierKey]:
    from studio.provenance.ledger.checkpoints.public_keys import read_keys

    return read_keys(_text(path))


def _text(path: Path) -> str:
    return read_bytes(path).decode(errors="replace")


def _summary(body: Mapping[str, Any]) -> str:
    if "title" in body:
        title = body["title"] if isinstance(body["title"], str) else "(typed title)"
        return f"{body['output_id']} {title}"
    if "verdict" in body:
        return f"{body['verdict']} {body['seal_id'] or ''}".rstrip()
    if "decision" in body and "why" not in body:
        refused = (tag for tag in body["decision"]["tags"] if not tag["granted"])
        return "; ".join(f"{tag['tag']}: {tag['reason']}" for tag in refused)
    if "behind_s" in body:
        return f"the clock was {body['behind_s']:g} s behind"
    if "purpose" in body:
        return f"{body['purpose']} key {body['number']}"
    if "field" in body:
        return f"{body['field']} of entry {body['entry']}"
    if "fields" in body:
        return f"{len(body['fields'])} values"
    return why if isinstance(why := body.get("why", ""), str) else ""
