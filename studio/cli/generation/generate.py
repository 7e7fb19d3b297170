"""``studio generate``, ``vary``, ``extend`` and ``lineage``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from studio.cli.caller import open_as_caller
from studio.cli.generation.progress import Meter
from studio.cli.generation.stems import hand_out, require_score
from studio.cli.output import emit, json_option
from studio.core.config import FORMATS
from studio.core.errors import UsageError
from studio.generation.derived.derivation import Wish
from studio.generation.takes import MOST_TAKES
from studio.generation.validation import HUMAN_CONTRIBUTIONS
from watermark.cli.numbers import Count, Number
from watermark.cli.paths import INPUT, OutputFile, OutputFolder
from watermark.cli.process import printable

if TYPE_CHECKING:
    from studio.app.session import Session
    from studio.provenance.release import GenerationRequest, Release

__all__ = ["extend", "generate", "lineage", "scope_options", "split_tags", "tags_option", "vary"]

Command = Callable[..., None]


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


scope_options = _with(
    click.option(
        "--use",
        type=click.Choice(["experiment", "noncommercial", "commercial"]),
        help="What the music is for.",
    ),
    click.option(
        "--territory", metavar="CODE", help="WORLD, a country (AT), EU or a region (150)."
    ),
    click.option("--model", metavar="ID", help="Generation model; `studio models list`."),
)

tags_option = click.option(
    "--tags", required=True, metavar="TAG,TAG,...", help="Style tags; `studio tags` lists them."
)

_making_options = _with(
    click.option(
        "--seed", type=Count(), help="Same seed and request, same music; drawn if left out."
    ),
    click.option("--guidance", type=Number(), help="How strictly the tags are followed, from 1."),
    click.option("--format", type=click.Choice(FORMATS), help="Format of the file."),
    click.option(
        "--out",
        type=OutputFile(),
        help="Copy the released file here; its extension chooses the format.",
    ),
    click.option("--title", help="Title of the output, without artists' names."),
    click.option("--note", help="A private note, without artists' names; not in the ledger."),
    click.option(
        "--human",
        metavar="PART,PART,...",
        help=f"What people contribute: {', '.join(HUMAN_CONTRIBUTIONS)}.",
    ),
)


@click.command()
@tags_option
@click.option("--seconds", type=Number(), help="Duration of the music.")
@click.option(
    "--sheet",
    type=INPUT,
    metavar="FILE",
    help="Lead sheet: key, tempo, metre, form, chords, melody (docs/scores.md).",
)
@click.option(
    "--takes",
    type=Count(1, MOST_TAKES),
    default=1,
    help="Make so many at once, with the seeds that follow; --out gets a number for each.",
)
@click.option("--stems", type=OutputFolder(), help="Put the four stems into this folder too.")
@click.option("--midi", type=OutputFile(), help="Write the score to this file too (MIDI).")
@_making_options
@scope_options
@json_option
def generate(
    tags: str,
    seconds: float | None,
    sheet: Path | None,
    takes: int,
    stems: Path | None,
    midi: Path | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate music from consented tags; watermark, record and release it."""
    if takes > 1 and (stems or midi):
        raise UsageError(
            "--stems and --midi are for one take; make the takes, then: studio stems OUTPUT_ID"
        )
    options = _made_ready(options, out)
    if sheet is not None:
        options["sheet"] = _text_of(sheet)
    with open_as_caller() as session:
        request = session.generation.request(split_tags(tags), duration_s=seconds, **options)
        require_score(session, request.model, stems, midi)
        if takes > 1:
            _make_takes(session, request, takes, out, as_json)
            return
        with _begun(session):
            release = session.generation.create(request, progress=Meter())
        _tell(release, out, as_json)
        beside = hand_out(session, release.output_id, stems, midi)
    if as_json and beside:
        emit({"output_id": release.output_id, **beside})


@click.command()
@click.argument("source")
@click.option("--tags", metavar="TAG,TAG,...", help="Other tags; the parent's by default.")
@click.option("--seconds", type=Number(), help="Another duration.")
@click.option(
    "--keep",
    type=click.Choice(["notes", "chords"]),
    help="Keep the parent's notes (the same score, performed anew) or its form and chords.",
)
@click.option(
    "--redo",
    type=click.Choice(["drums", "bass", "lead", "harmony"]),
    help="Compose this stem anew; the others keep their notes.",
)
@click.option(
    "--new",
    type=click.Choice(["instruments"]),
    help="Have other instruments play the parent's notes.",
)
@click.option("--lead", metavar="NAME", help="With --new or --keep chords: who leads (flute).")
@_making_options
@scope_options
@json_option
def vary(
    source: str,
    tags: str | None,
    seconds: float | None,
    keep: Literal["notes", "chords"] | None,
    redo: Literal["drums", "bass", "lead", "harmony"] | None,
    new: Literal["instruments"] | None,
    lead: str | None,
    seed: int | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a variation of SOURCE: an output id, or a file with our watermark.

    It has the parent's tags and settings, other than those given, and another seed. --keep, --redo
    and --new start from the score of an output of the house model.
    """
    changes = {"duration_s": seconds, **_made_ready(options, out)}
    with open_as_caller() as session, _begun(session):
        release = session.generation.vary(
            _source(source),
            tags=split_tags(tags) if tags else None,
            seed=seed,
            changes=changes,
            wish=Wish(keep, redo, new, lead),
            progress=Meter(),
        )
    _tell(release, out, as_json)


@click.command()
@click.argument("source")
@click.option("--seconds", type=Number(), required=True, help="How much is added after its end.")
@_making_options
@scope_options
@json_option
def extend(
    source: str,
    seconds: float,
    seed: int | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Continue SOURCE after its end: an output id, or a file with our watermark."""
    changes = _made_ready(options, out)
    with open_as_caller() as session, _begun(session):
        release = session.generation.extend(
            _source(source), seconds, seed=seed, changes=changes, progress=Meter()
        )
    _tell(release, out, as_json)


@click.command()
@click.argument("output_id")
@json_option
def lineage(output_id: str, as_json: bool) -> None:
    """Show the family tree of OUTPUT_ID: its parents and its children."""
    with open_as_caller() as session:
        family = session.outputs.lineage(output_id)
    if as_json:
        emit(family.to_json())
        return
    click.echo(f"{family.release.output_id}  {family.release.title}")
    for ancestor in family.ancestors:
        click.echo(f"  from  {ancestor.output_id}  {ancestor.title}")
    from studio.generation.derived.lineage import in_words

    for child in family.children:
        release = child.release
        how = ", ".join(filter(None, (child.relation, in_words(release))))
        click.echo(f"  into  {release.output_id}  {release.title} ({how})")


def split_tags(tags: str) -> list[str]:
    """The ids in a list with commas."""
    return [tag.strip() for tag in tags.split(",") if tag.strip()]


def _text_of(path: Path) -> str:
    """A lead sheet from its file; a longer one is cut and refused where it is read."""
    from studio.music.composer.notation.sheet import MAX_SHEET_CHARACTERS

    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(MAX_SHEET_CHARACTERS + 1)
    except OSError as exc:
        raise UsageError(f"the lead sheet {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"the lead sheet {path} is no text in UTF-8") from exc


def _source(text: str) -> str | Path:
    """An output id stays one; anything else is a file."""
    if len(text) == 16 and all(char in "0123456789abcdef" for char in text):
        return text
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text!r} is neither an output id nor a file")
    return path


def _made_ready(options: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """The options as request fields: the format from the file's name, parts as a list."""
    human: Sequence[str] = split_tags(options.pop("human") or "")
    if out is not None:
        options["format"] = _format_of(out, options["format"])
    return {**options, "human": tuple(human)}


def _make_takes(
    session: Session, request: GenerationRequest, count: int, out: Path | None, as_json: bool
) -> None:
    """Make the takes and say what came of each; then raise the first error, if there is one."""
    with _begun(session, "cancelled; what was released already is kept"):
        takes = session.generation.create_takes(request, count, progress=Meter())
    for number, take in enumerate(takes, start=1):
        if take.release is None:
            click.echo(f"studio: take {number} failed: {take.error}", err=True)
            continue
        copy = None if out is None else out.with_stem(f"{out.stem}-{number}")
        _tell(take.release, copy, as_json)
    for take in takes:
        if take.error is not None:
            raise take.error


@contextmanager
def _begun(session: Session, cancelled: str = "cancelled; nothing was kept") -> Iterator[None]:
    """Around the making of music: first what a crash left behind, and what Ctrl-C means."""
    for line in session.generation.recover().lines():
        click.echo(f"studio: {line}", err=True)
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(cancelled) from None


def _tell(release: Release, out: Path | None, as_json: bool) -> None:
    """Copy the file where it is wanted, and say what was made."""
    if out is not None:
        _copy(release.path, out)
    if as_json:
        emit(_release_json(release))
        return
    click.echo(printable(str(out or release.path)))
    click.echo(f"title         {release.title}")
    click.echo(f"seal          {release.seal_id}")
    click.echo(f"ledger entry  {release.entry_index} ({release.entry_hash})")
    if release.lineage is not None:
        from studio.generation.derived.lineage import in_words

        how = ", ".join(filter(None, (release.lineage["relation"], in_words(release))))
        click.echo(f"parent        {release.lineage['parent']} ({how})")
    for line in release.credits:
        click.echo(f"credit        {line}")


def _format_of(out: Path, format: str | None) -> str:
    extension = out.suffix.lower().removeprefix(".")
    if format is None:
        if extension not in FORMATS:
            raise UsageError(f"cannot tell the format from {out.name!r}; name it with --format")
        return extension
    if extension in FORMATS and extension != format:
        raise UsageError(f"--format {format} and the extension of {out.name!r} disagree")
    return format


def _copy(source: Path, target: Path) -> None:
    """The same bytes under another name, there whole or not at all."""
    from watermark.util.files import replacing

    try:
        with replacing(target) as file:
            file.write(source.read_bytes())
    except OSError as exc:
        raise UsageError(
            f"cannot write {target}: {exc.strerror}; the released file is {source}"
        ) from exc


def _release_json(release: Release) -> dict[str, Any]:
    return {
        "output_id": release.output_id,
        "path": str(release.path),
        "sha256": release.sha256,
        "seal_id": release.seal_id,
        "entry": release.entry_index,
        "entry_hash": release.entry_hash,
        "request": release.request.to_json(),
        "decision": dict(release.decision),
        "rate": release.rate,
        "channels": release.channels,
        "duration_s": release.duration_s,
        "title": release.title,
        "credits": list(release.credits),
        "seal": dict(release.seal),
        "model": dict(release.model),
        "lineage": None if release.lineage is None else dict(release.lineage),
    }
