"""Every parser of something that comes from outside, with honest examples and what must hold.

A target takes bytes and either returns (True: they were accepted) or raises one of its own
errors. Any other exception is a crash. What is accepted must also be *right*: a changed file may be
read, a changed proof may not prove something else.
"""

from __future__ import annotations

import functools
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from watermark.audio.waveform import FORMATS, DecodeLimits, Waveform, encode, read

__all__ = ["TARGETS", "Target"]

LIMITS = DecodeLimits(max_duration_s=20, max_bytes=10**6, deadline_s=5)
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    seeds: Callable[[], tuple[bytes, ...]]  # honest examples, all accepted
    run: Callable[[bytes], bool]
    errors: Callable[[], tuple[type[Exception], ...]]  # what it may raise
    slow: bool = False  # a process for every input


# -- audio -----------------------------------------------------------------------------------------


def noise(seconds: float = 0.5, rate: int = 24_000) -> Waveform:
    rng = np.random.default_rng(0)
    return Waveform((0.1 * rng.standard_normal((2, int(seconds * rate)))).astype(np.float32), rate)


@functools.cache
def audio_seeds() -> tuple[bytes, ...]:
    return tuple(encode(noise(), format) for format in FORMATS)


def decode(data: bytes, limits: DecodeLimits = LIMITS) -> bool:
    sound = read(data, limits)
    assert sound.duration_s <= limits.max_duration_s
    assert 1 <= sound.channels <= limits.max_channels
    assert limits.min_rate <= sound.rate <= limits.max_rate
    assert np.isfinite(sound.samples).all()
    return True


def decode_isolated(data: bytes) -> bool:
    return decode(data, replace(LIMITS, isolated=True))


def audio_errors() -> tuple[type[Exception], ...]:
    from watermark.errors import AudioError

    return (AudioError,)


# -- Content Credentials ---------------------------------------------------------------------------


@functools.cache
def credentials():
    from studio.provenance.credentials.certificates import Trust, make_development_identity
    from studio.provenance.credentials.signing import Credentials
    from tests.support.credentials import DEVELOPMENT

    identity = make_development_identity(datetime.now(UTC))
    return Credentials(DEVELOPMENT, Trust(identity, identity.root_pem))


@functools.cache
def signed():
    from tests.support.credentials import CLAIM

    return {
        format: credentials().sign(encode(noise(), format), format, CLAIM)
        for format in ("wav", "flac", "mp3", "m4a")
    }


def signed_seeds() -> tuple[bytes, ...]:
    return tuple(file.content for file in signed().values())


@functools.cache
def honest_claims() -> str:
    reading = credentials().examine(io.BytesIO(signed()["wav"].content))
    return _claims(reading)


def _claims(reading) -> str:
    ours = {k: v for k, v in reading.claims.items() if not k.startswith("c2pa.hash")}
    return json.dumps(ours, sort_keys=True)


def examine_credentials(data: bytes) -> bool:
    from studio.provenance.credentials.reading import CredentialState

    reading = credentials().examine(io.BytesIO(data))
    if reading.state is not CredentialState.TRUSTED:
        return reading.state is not CredentialState.ABSENT
    # Still trusted: then neither the sound nor what is claimed was touched.
    assert _claims(reading) == honest_claims()
    sound = read(data, LIMITS)
    originals = [read(content, LIMITS).samples for content in signed_seeds()]
    assert any(np.array_equal(sound.samples, samples) for samples in originals)
    return True


def recover_manifest(data: bytes) -> bool:
    reading = credentials().recover(data)
    if reading is None:
        return False
    assert _claims(reading) == honest_claims()
    return True


# -- consent, proofs, keys, configuration ----------------------------------------------------------


def consent_seeds() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(_ROOT.glob("configs/consent/signed/*.json")))


def read_consent(data: bytes) -> bool:
    from studio.consent.signed.signing import read_file

    return bool(read_file(data))


def consent_errors() -> tuple[type[Exception], ...]:
    from studio.core.errors import ConsentFileError

    return (ConsentFileError,)


@functools.cache
def proven():
    from studio.provenance.ledger.log import Ledger
    from studio.provenance.ledger.proof_bundle import make_bundle
    from tests.support.ledgers import checkpointer_of, fill

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    ledger = Ledger.open(folder / "ledger.db", outputs=folder)
    fill(ledger)
    checkpointer = checkpointer_of(ledger, folder)
    bundle = make_bundle(ledger, 3, checkpointer.covering(3))
    keys = checkpointer.verifiers
    note = checkpointer.checkpoint().note
    checkpointer.close()
    ledger.close()
    return json.dumps(bundle).encode(), keys, note.encode()


def check_proof(data: bytes) -> bool:
    from studio.provenance.ledger.proof_bundle import check_bundle

    bundle, keys, _ = proven()
    found = check_bundle(data, keys)
    honest = check_bundle(bundle, keys)
    assert (found.index, found.kind, dict(found.body)) == (
        honest.index,
        honest.kind,
        dict(honest.body),
    )
    return True


def open_checkpoint(data: bytes) -> bool:
    from studio.provenance.ledger.checkpoints.checkpoint import Checkpoint

    _, keys, note = proven()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    assert Checkpoint.open(text, *keys) == Checkpoint.open(note.decode(), *keys)
    return True


def proof_errors() -> tuple[type[Exception], ...]:
    from studio.core.errors import ProofError, UnreadableProofError

    return (ProofError, UnreadableProofError)


def fingerprint_seeds() -> tuple[bytes, ...]:
    from watermark.fingerprint.haitsma_kalker import fingerprint

    return (fingerprint(noise(3.0)).to_bytes(),)


def read_fingerprint(data: bytes) -> bool:
    from watermark.fingerprint.haitsma_kalker import Fingerprint, fingerprint, match

    found = Fingerprint.from_bytes(data)
    match(found, fingerprint(noise(3.0)))
    return True


def fingerprint_errors() -> tuple[type[Exception], ...]:
    from watermark.errors import FingerprintError

    return (FingerprintError,)


@functools.cache
def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def seal_key_seeds() -> tuple[bytes, ...]:
    from watermark.coding.message import SealKey

    path = scratch() / "made.key"
    path.unlink(missing_ok=True)
    SealKey(1, bytes(range(32))).save(path)
    return (path.read_bytes(),)


def read_seal_key(data: bytes) -> bool:
    from watermark.coding.message import SealKey

    SealKey.load(_file("seal.key", data))
    return True


def seal_key_errors() -> tuple[type[Exception], ...]:
    from watermark.errors import SealKeyError

    return (SealKeyError,)


@functools.cache
def signing_key_seeds() -> tuple[bytes, ...]:
    from studio.provenance.credentials.certificates import make_development_identity

    identity = make_development_identity(datetime(2026, 11, 22, tzinfo=UTC))
    return ((identity.key_pem + identity.chain_pem).encode(),)


def read_signing_key(data: bytes) -> bool:
    from studio.provenance.credentials.certificates import load_trust

    folder = scratch() / "credentials"
    folder.mkdir(exist_ok=True)
    path = folder / "development-0001.pem"
    path.touch(mode=0o600)
    path.write_bytes(data)
    for later in folder.glob("development-0002.pem"):
        later.unlink()
    load_trust(credentials()._config, folder, folder)
    return True


def credential_errors() -> tuple[type[Exception], ...]:
    from studio.core.errors import CredentialError

    return (CredentialError,)


def config_seeds() -> tuple[bytes, ...]:
    return ((_ROOT / "configs" / "studio.yaml").read_bytes(),)


def read_config(data: bytes) -> bool:
    from studio.core.config import load_config

    load_config(_file("studio.yaml", data))
    return True


def model_config_seeds() -> tuple[bytes, ...]:
    return ((_ROOT / "configs" / "models" / "house.yaml").read_bytes(),)


def read_model_config(data: bytes) -> bool:
    from studio.music.models.config import load_model_configs

    folder = scratch() / "models"
    folder.mkdir(exist_ok=True)
    (folder / "house.yaml").write_bytes(data)
    load_model_configs(folder)
    return True


def config_errors() -> tuple[type[Exception], ...]:
    from studio.core.errors import ConfigError

    return (ConfigError,)


def journal_seeds() -> tuple[bytes, ...]:
    records = ({"file": f"{n}.wav", "reader": "house-1", "score": n / 3} for n in range(4))
    return ("".join(json.dumps(record) + "\n" for record in records).encode(),)


def read_journal(data: bytes) -> bool:
    from watermark.batch.files import Journal

    with Journal(_file("report.jsonl", data), reader="house-1") as journal:
        list(journal.records())
    return True


def journal_errors() -> tuple[type[Exception], ...]:
    from watermark.errors import ScanError

    return (ScanError,)


def nothing() -> tuple[type[Exception], ...]:
    return ()


TARGETS = (
    Target("decoder", audio_seeds, decode, audio_errors),
    Target("decoder in its child", audio_seeds, decode_isolated, audio_errors, slow=True),
    Target("manifests in files", signed_seeds, examine_credentials, audio_errors),
    Target(
        "manifests of the ledger",
        lambda: tuple(file.manifest for file in signed().values()),
        recover_manifest,
        nothing,
    ),
    Target("signed consent", consent_seeds, read_consent, consent_errors),
    Target("proof bundles", lambda: (proven()[0],), check_proof, proof_errors),
    Target("checkpoints", lambda: (proven()[2],), open_checkpoint, proof_errors),
    Target("fingerprints", fingerprint_seeds, read_fingerprint, fingerprint_errors),
    Target("seal keys", seal_key_seeds, read_seal_key, seal_key_errors),
    Target("signing keys", signing_key_seeds, read_signing_key, credential_errors),
    Target("studio.yaml", config_seeds, read_config, config_errors),
    Target("model configurations", model_config_seeds, read_model_config, config_errors),
    Target("scan reports", journal_seeds, read_journal, journal_errors),
)
