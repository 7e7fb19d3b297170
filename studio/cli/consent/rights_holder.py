"""``studio consent``: keys and signing, on the rights holder's own machine.

None of these commands opens a studio. They make a file that goes by mail to the studios it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from studio.cli.output import write_output
from studio.core.errors import UsageError
from watermark.cli.numbers import Count
from watermark.cli.paths import INPUT, OutputFile
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.consent.signed.documents import Document
    from studio.consent.signed.keys import SigningKey

__all__ = [
    "fingerprint",
    "grant",
    "holder_new",
    "holder_rotate",
    "keygen",
    "revoke",
    "sign_shipped",
    "tags",
]

_FILE = INPUT
_Kind = TypeVar("_Kind", bound="Document")
_key_option = click.option("--key", required=True, type=_FILE, help="The holder's signing key.")
_holder_option = click.option("--holder", required=True, metavar="ID", help="Id of the holder.")
_out_option = click.option(
    "--out", required=True, type=OutputFile(), help="Where the signed file goes."
)


_ONE_OR_EVERY = "its site id (`studio consent site`), or '*' for every studio"
_addressed_option = click.option(
    "--audience", required=True, metavar="SITE", help=f"The studio it is for: {_ONE_OR_EVERY}."
)
_everywhere_option = click.option(
    "--audience",
    default="*",
    metavar="SITE",
    help="The studio it is for: a site id; '*', the default, means every studio.",
)


def _envelope_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--import-before",
            metavar="INSTANT",
            help="The file is void from then on, like 2026-12-31T00:00:00Z.",
        ),
        click.option(
            "--serial", type=Count(1), help="Above all earlier ones; the time by default."
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("out", type=OutputFile())
@click.option("--protect", is_flag=True, help="Ask for a password and encrypt the key with it.")
def keygen(out: Path, protect: bool) -> None:
    """Make a signing key in OUT and print its fingerprint. Keep the file secret."""
    from studio.consent.signed.keys import SigningKey

    password = (
        click.prompt("Password", hide_input=True, confirmation_prompt=True) if protect else None
    )
    key = SigningKey.generate()
    key.save(out, password)
    click.echo(key.public.fingerprint)


@click.command()
@click.argument("key", type=_FILE)
def fingerprint(key: Path) -> None:
    """Print the fingerprint of a signing KEY, to read to a registrar."""
    click.echo(_load(key).public.fingerprint)


@click.command("new")
@_holder_option
@click.option("--name", required=True, help="Name as it appears in credits.")
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["artist", "label", "distributor", "project", "demonstration"]),
)
@_key_option
@_out_option
@_addressed_option
@_envelope_options
def holder_new(holder: str, name: str, kind: str, key: Path, out: Path, **envelope: Any) -> None:
    """Sign a document that introduces a rights holder; a registrar admits it.

    Name and id are kept for ever by every studio that admits it: a signed document cannot be
    changed. Use a stage name or a company's where a person's own name must stay erasable.
    """
    from studio.consent.signed.documents import HolderDocument

    signer = _load(key)
    profile = {"name": name, "kind": kind, "public_key": signer.public.text}
    _write(out, HolderDocument, holder, envelope, [signer], profile=profile)
    click.echo(signer.public.fingerprint)


@click.command("rotate")
@_holder_option
@click.option("--key", type=_FILE, help="The present key; left out only where it is gone.")
@click.option("--new-key", required=True, type=_FILE, help="Signs from now on.")
@_out_option
@_everywhere_option
@_envelope_options
def holder_rotate(holder: str, key: Path | None, new_key: Path, out: Path, **envelope: Any) -> None:
    """Sign a change of keys, with both of them."""
    from studio.consent.signed.documents import KeyDocument

    new = _load(new_key)
    signers = [new] if key is None else [new, _load(key)]
    _write(out, KeyDocument, holder, envelope, signers, new_public_key=new.public.text)
    click.echo(new.public.fingerprint)


@click.command()
@click.argument("draft", type=_FILE)
@_key_option
@_out_option
@click.option(
    "--audience",
    metavar="SITE",
    help=f"The studio it is for: {_ONE_OR_EVERY}; otherwise the draft's `audience`.",
)
@_envelope_options
def grant(draft: Path, key: Path, out: Path, audience: str | None, **envelope: Any) -> None:
    """Sign the grant in DRAFT, a YAML file like those in configs/consent/grants.

    It counts in the one studio it is for, named here or by the draft's `audience`.
    """
    from studio.consent.signed.documents import GrantDocument
    from studio.consent.signed.drafts import draft_audience, draft_grant

    terms = draft_grant(draft)
    envelope["audience"] = audience or draft_audience(draft)
    if envelope["audience"] is None:
        raise UsageError(
            f"say which studio the grant is for, with --audience or `audience:` in {draft.name}: "
            + _ONE_OR_EVERY
        )
    body = terms.model_dump(mode="json", exclude={"holder"})
    _write(out, GrantDocument, terms.holder, envelope, [_load(key)], grant=body)


@click.command()
@click.argument("grant")
@_holder_option
@_key_option
@_out_option
@click.option("--at", metavar="INSTANT", help="From when on; as soon as it is imported by default.")
@click.option("--reason", default="", help="In the holder's words; shown to registrars.")
@_everywhere_option
@_envelope_options
def revoke(
    grant: str,
    holder: str,
    key: Path,
    out: Path,
    at: str | None,
    reason: str,
    **envelope: Any,
) -> None:
    """Sign a revocation of GRANT. It takes effect when a studio imports it."""
    from studio.consent.signed.documents import RevocationDocument

    body = {"grant": grant, "effective_at": at, "reason": reason}
    _write(out, RevocationDocument, holder, envelope, [_load(key)], revocation=body)


@click.command()
@click.argument("file", type=_FILE)
@_holder_option
@_key_option
@_out_option
@_addressed_option
@_envelope_options
def tags(file: Path, holder: str, key: Path, out: Path, **envelope: Any) -> None:
    """Sign new style tags from FILE (YAML, as configs/consent/tags.yaml)."""
    from studio.consent.signed.documents import TagsDocument
    from studio.core.tags import Vocabulary

    body = [{"id": tag.id, "phrase": tag.phrase} for tag in Vocabulary.load(file).values()]
    _write(out, TagsDocument, holder, envelope, [_load(key)], tags=body)


@click.command("sign-shipped")
@click.option(
    "--folder",
    required=True,
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The drafts, as in configs/consent.",
)
@click.option(
    "--keys",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="One key a holder, ID.pem; missing ones are made. Never part of the project.",
)
@click.option("--holder", metavar="ID", help="Make the file of this holder only.")
def sign_shipped(folder: Path, keys: Path, holder: str | None) -> None:
    """Sign the drafts in --folder again: the consent that a new studio starts with.

    With --holder the signed files of all other holders stay as they are.
    """
    from studio.consent.signed.drafts import SIGNED, Drafts, sign_drafts
    from studio.consent.signed.keys import SigningKey

    def key_of(holder: str) -> SigningKey:
        path = keys / f"{holder}.pem"
        if not path.exists():
            keys.mkdir(parents=True, exist_ok=True)
            SigningKey.generate().save(path)
            click.echo(f"made the key {printable(str(path))}", err=True)
        return _load(path)

    signed = folder / SIGNED
    signed.mkdir(exist_ok=True)
    present = [path.name for path in signed.glob("*.json")]
    files = sign_drafts(Drafts(folder), key_of, only=holder, present=present)
    for name, content in files.items():
        write_output(signed / name, content)
        click.echo(printable(str(signed / name)))


# -- helpers ---------------------------------------------------------------------------------------


def _load(path: Path) -> SigningKey:
    """The key, asking for its password where it has one."""
    from studio.consent.signed.keys import SigningKey

    try:
        encrypted = b"ENCRYPTED" in path.read_bytes()[:64]
    except OSError:
        encrypted = False  # load() says what is wrong
    password = click.prompt(f"Password of {path.name}", hide_input=True) if encrypted else None
    return SigningKey.load(path, password)


def _write(
    out: Path,
    kind: type[_Kind],
    holder: str,
    envelope: dict[str, Any],
    signers: Sequence[SigningKey],
    **body: Any,
) -> None:
    """Sign one document into a file of its own."""
    from pydantic import ValidationError

    from studio.consent.signed.signing import new_document, sign, write_file

    given = {name: value for name, value in envelope.items() if value is not None}
    try:
        document = new_document(kind, holder, **given, **body)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()
        )
        raise UsageError(f"this cannot be signed: {faults}") from exc
    write_output(out, write_file([sign(document, *signers)]))
    where = "in every studio" if document.audience == "*" else f"in {document.audience} only"
    click.echo(f"signed; it counts {where}", err=True)
