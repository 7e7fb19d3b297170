"""What ``watermark`` commands share: id lists, results as text and JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watermark.batch.files import Column
from watermark.errors import AudioError, SealIdError

if TYPE_CHECKING:
    from watermark.coding.identify import Codebook, Identification
    from watermark.coding.message import SealKey
    from watermark.detection.detect import Detection
    from watermark.models.base import SealModel, SealModelConfig

__all__ = [
    "COLUMNS",
    "BitRate",
    "codebook_of",
    "describe",
    "describe_identity",
    "identity",
    "ids_digest",
    "load_model",
    "model_config",
    "model_option",
    "unreadable",
]

model_option = click.option(
    "--model",
    default="house",
    show_default=True,
    metavar="house|hub|FILE.yaml",
    help="Seal model: the embedded one, Meta's from the hub, or a configuration file.",
)

COLUMNS = {
    "file": Column("text", "the name under which the file was found: a path or an address"),
    "verdict": Column("text", "sealed, no seal; in a dataset also unreadable, over-limits"),
    "score": Column("number", "of the detector; above the threshold a seal is there"),
    "threshold": Column("number", "that the score has to reach, for this duration"),
    "p_value": Column("number", "share of unsealed music that scores as high"),
    "false_positive_rate": Column("number", "upper bound of the rate of false alarms"),
    "duration_s": Column("number", "of the audio, seconds"),
    "segments": Column("text", "JSON list of the parts that hold a seal"),
    "seal_id": Column("text", "of the seal, where a list of ids was given and one fits"),
    "offset_s": Column("number", "where in the sealed piece the file begins, seconds"),
    "chance_bound": Column("number", "bound of the chance that a wrong seal fits as well"),
    "bit_accuracy": Column("number", "share of the seal's bits that were read right"),
    "reader": Column("text", "id of the weights and of the list of seals"),
    "error": Column("text", "why the file could not be read; empty where it could"),
    "notes": Column("text", "JSON list of what is odd about the file"),
}
"""Of the table of a scan."""


class BitRate(click.ParamType[int]):
    """Bits a second: 192000, or 192k."""

    name = "bit/s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; what cannot be meant is an error."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        thousands = text.endswith("k")
        try:
            number = float(text[:-1] if thousands else text) * (1000 if thousands else 1)
        except ValueError:
            self.fail(f"{value!r} is no bit rate; write 192000 or 192k", param, ctx)
        if not 1000 <= number <= 10_000_000:
            self.fail(f"{value} is {number:g} bits a second; write 192000 or 192k", param, ctx)
        return round(number)


def codebook_of(ids: str, key_files: Iterable[str]) -> Codebook:
    """Read a list of `id [seconds [epoch [scrambled]]]`; without an epoch the only key is meant."""
    from watermark.coding.identify import Codebook, CodebookEntry
    from watermark.coding.message import SealId, SealKey

    loaded = [SealKey.load(path) for path in key_files]
    keys = {seal_key.epoch: seal_key for seal_key in loaded}
    if not keys or len(keys) < len(loaded):
        raise click.UsageError(
            "naming a seal needs --key-file (or $WATERMARK_KEY_FILE), one key per epoch"
        )
    name = Path(ids).name
    try:
        lines = Path(ids).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"list of ids {name}: not UTF-8 text") from exc
    except OSError as exc:
        raise _no_ids(name, exc) from exc
    entries = []
    for number, line in enumerate(lines, 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        try:
            seconds = float(fields[1]) if len(fields) > 1 else 60.0
            seal_key = keys[int(fields[2])] if len(fields) > 2 else _only(keys)
            if fields[3:] not in ([], ["scrambled"]) or not 0 < seconds < 1e6:
                raise ValueError
            scrambled = len(fields) > 3
            entries.append(CodebookEntry(SealId.parse(fields[0]), seal_key, seconds, scrambled))
        except (SealIdError, ValueError, KeyError) as exc:
            raise click.UsageError(
                f"list of ids {name}, line {number}: not `id [seconds [epoch [scrambled]]]` with "
                "an epoch whose key was given"
            ) from exc
    return Codebook(entries)


def _only(keys: dict[int, SealKey]) -> SealKey:
    """The one key there is; ValueError where there are several to choose from."""
    (seal_key,) = keys.values()
    return seal_key


def unreadable(file: str, error: AudioError) -> dict[str, Any]:
    """What stands where the finding on a file would, were it audio."""
    return {"file": file, "error": str(error), "kind": type(error).__name__}


def ids_digest(ids: str) -> str:
    """Which registry an answer was given with: another list of ids gives other answers."""
    try:
        return "ids " + hashlib.sha256(Path(ids).read_bytes()).hexdigest()[:16]
    except OSError as exc:
        raise _no_ids(Path(ids).name, exc) from exc


def _no_ids(name: str, error: OSError) -> click.UsageError:
    return click.UsageError(f"list of ids {name}: {(error.strerror or 'unreadable').lower()}")


def identity(named: Identification | None) -> dict[str, Any] | None:
    """A seal's name as plain data, digits unrounded."""
    if named is None:
        return None
    return {
        "seal_id": named.seal_id.hex,
        "epoch": named.epoch,
        "score": named.score,
        "chance_bound": named.chance_bound,
        "offset_s": named.offset_s,
        "bit_accuracy": named.bit_accuracy,
        "seconds_used": named.seconds_used,
    }


def describe(found: Detection) -> str:
    """A finding in one line, with its evidence."""
    evidence = f"score {found.score:.2f}, threshold {found.threshold:.2f}"
    if found.false_positive_rate is None:
        evidence += ", of weights whose false alarms nobody counted"
    else:
        evidence += f", false alarms at most {found.false_positive_rate:.2g}"
    about = f"; about the file: {'; '.join(found.notes)}" if found.notes else ""
    if not found.detected:
        return f"no seal detected ({evidence}){about}"
    places = ", ".join(f"{s.start_s:.1f}-{s.end_s:.1f} s" for s in found.segments)
    text = f"sealed ({evidence})" + (f" at {places}" if places else "")
    if found.retiming is not None:
        text += f"; played at {found.retiming.factor:.3f} times its {found.retiming.kind}"
    if found.keyed is not None:
        text += f"; under the key of epoch {found.keyed.epoch}"
    if found.identification is not None:
        text += f"; {describe_identity(found.identification)}"
    return text + about


def describe_identity(named: Identification) -> str:
    """A seal's name in words, with the bound on a wrong one."""
    return (
        f"seal {named.seal_id.hex}, from {named.offset_s:.1f} s of the original "
        f"(chance of any wrong seal fitting as well: at most {named.chance_bound:.1g})"
    )


def load_model(name: str, device: str = "cpu") -> SealModel:
    """The seal model that ``--model`` names, working on a device of PyTorch."""
    from watermark.models.loading import load_seal_model

    return load_seal_model(model_config(name), device=device)


def model_config(name: str) -> str | SealModelConfig:
    """What ``--model`` names, without its weights."""
    from watermark.models.base import SealModelConfig

    return SealModelConfig.load(name) if name.endswith((".yaml", ".yml")) else name
