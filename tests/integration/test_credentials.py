"""Content Credentials: readable by anyone with the root; every way to spoil them is told apart."""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from studio.core.config import CredentialsConfig
from studio.core.errors import ConfigError, ConsentRefusedError, CredentialError
from studio.provenance.credentials.certificates import (
    Trust,
    load_trust,
    make_development_identity,
)
from studio.provenance.credentials.claims import Parent, TrainingTerms
from studio.provenance.credentials.inspector import CredentialInspector
from studio.provenance.credentials.reading import CredentialState
from studio.provenance.credentials.repository import ManifestStore
from studio.provenance.credentials.signing import Credentials
from studio.verification.report import Verdict
from tests.support.credentials import CLAIM, DEVELOPMENT
from tests.support.studios import PlainGenerator, as_owner, left_over, make_studio, music
from watermark.audio.waveform import Waveform, encode, read

TAGS = ["genre/jazz", "mood/calm"]
GOLDEN = Path(__file__).parents[1] / "golden"
MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg", "m4a": "audio/mp4"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("credentials")
    with make_studio(folder, generator=PlainGenerator()) as studio:
        yield studio


@pytest.fixture(scope="module")
def releases(studio):
    return {
        format: as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=seed, format=format)
        )
        for seed, format in enumerate(MEDIA_TYPES, start=1)
    }


def independent(content: bytes, format: str, root: str) -> dict:
    """What c2pa's own reader says, knowing the root certificate and nothing of this studio."""
    anchors = {"trust": {"trust_anchors": root}, "verify": {"remote_manifest_fetch": False}}
    context = c2pa.Context.from_dict(anchors)
    with c2pa.Reader(MEDIA_TYPES[format], io.BytesIO(content), context=context) as reader:
        return json.loads(reader.json())


def signer(valid: timedelta = timedelta(days=1)) -> Credentials:
    identity = make_development_identity(datetime.now(UTC), valid=valid)
    return Credentials(DEVELOPMENT, Trust(identity, identity.root_pem))


# -- what is handed out ----------------------------------------------------------------------------


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_every_format_is_signed_for_an_independent_reader(studio, releases, format):
    release = releases[format]
    found = independent(
        release.path.read_bytes(), format, studio.credentials().trust.current.root_pem
    )
    assert found["validation_state"] == "Trusted"
    manifest = found["manifests"][found["active_manifest"]]
    assert manifest["title"] == release.title
    told = {item["label"]: item for item in manifest["assertions"]}
    assert all(item.get("created") for item in told.values() if "hash" not in item["label"])
    created, watermarked = told["c2pa.actions.v2"]["data"]["actions"]
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert watermarked["action"] == "c2pa.watermarked"
    binding = told["c2pa.soft-binding"]["data"]
    assert binding["alg"] == "org.consented-music-studio.seal.1"
    assert binding["blocks"][0]["value"] == release.seal_id
    consent = told["org.consented-music-studio.consent"]["data"]
    assert [tag for grant in consent["grants"] for tag in grant["tags"]] == TAGS
    assert consent["grants"][0]["terms"]["sha256"] in json.dumps(dict(release.decision))
    generation = told["org.consented-music-studio.generation"]["data"]
    assert generation["seed"] == release.request.seed
    assert generation["model"]["digest"] == release.model["digest"]
    mining = told["cawg.training-mining"]["data"]["entries"]
    assert mining["cawg.ai_inference"]["use"] == "notAllowed"
    assert mining["cawg.ai_generative_training"]["use"] == "constrained"  # by the house's terms


def test_the_entry_names_the_manifest_and_the_ledger_keeps_it(studio, releases):
    release = releases["flac"]
    stored = ManifestStore(studio.ledger()).of_output(release.output_id)
    assert stored.label == release.c2pa["label"]
    assert stored.content in release.path.read_bytes()
    assert studio.ledger().verify().ok


def test_training_is_allowed_by_no_grant_unless_all_say_so():
    def uses(terms):
        return {entry["use"] for entry in TrainingTerms(terms).entries().values()}

    assert uses({}) == {"notAllowed"}
    assert uses({"a": "terms/a.md", "b": None}) == {"notAllowed"}
    assert uses({"a": "terms/a.md"}) == {"constrained", "notAllowed"}


def test_a_parent_is_an_ingredient_with_its_own_manifest():
    credentials = signer()
    content = encode(music(1, 2.0), "wav")
    parent = credentials.sign(content, "wav", replace(CLAIM, title="Parent"))
    claim = replace(CLAIM, parent=Parent("cd" * 8, "Parent", "wav", parent.content))
    child = credentials.sign(encode(music(2, 2.0), "wav"), "wav", claim)
    found = independent(child.content, "wav", credentials.trust.anchors_pem)
    assert found["validation_state"] == "Trusted"
    (ingredient,) = found["manifests"][found["active_manifest"]]["ingredients"]
    assert ingredient["relationship"] == "inputTo"
    assert ingredient["active_manifest"] == parent.label
    lost = replace(CLAIM, parent=Parent("cd" * 8, "Parent", "wav", None))
    alone = independent(
        credentials.sign(content, "wav", lost).content, "wav", credentials.trust.anchors_pem
    )
    generation = alone["manifests"][alone["active_manifest"]]["assertions"]
    told = {item["label"]: item["data"] for item in generation}
    assert told["org.example.generation"]["parent"] == "cd" * 8


def test_a_file_signed_in_2026_reads_for_ever():
    content = (GOLDEN / "credentials-v1.mp3").read_bytes()
    root = (GOLDEN / "credentials-v1.root.pem").read_text()
    found = independent(content, "mp3", root)
    term = x509.load_pem_x509_certificate(root.encode()).not_valid_after_utc
    assert found["validation_state"] == ("Trusted" if datetime.now(UTC) < term else "Invalid")
    manifest = found["manifests"][found["active_manifest"]]
    told = {item["label"]: item.get("data") for item in manifest["assertions"]}
    assert told["c2pa.soft-binding"]["alg"] == "org.example.seal.1"
    assert told["c2pa.soft-binding"]["blocks"][0]["value"] == "9f2c00a1b2c3d4e5"
    assert told["org.example.generation"]["seed"] == 7
    assert told["org.example.consent"]["grants"][0]["grant"] == "house-catalogue-2026"


def test_a_variation_names_its_parent_as_an_ingredient(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        parent = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=1, format="wav")
        )
        child = as_owner(studio).generation.vary(parent.output_id, seed=2)
        found = independent(
            child.path.read_bytes(),
            child.request.format,
            studio.credentials().trust.current.root_pem,
        )
    assert found["validation_state"] == "Trusted"
    (ingredient,) = found["manifests"][found["active_manifest"]]["ingredients"]
    assert ingredient["title"] == parent.title
    assert ingredient["active_manifest"] == parent.c2pa["label"]


# -- what the desk makes of it ---------------------------------------------------------------------


def state(studio, content: bytes) -> dict:
    return as_owner(studio).verification.verify(content, record=False).to_json()["c2pa"]


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_our_own_file_is_trusted_and_ours(studio, releases, format):
    report = as_owner(studio).verification.verify(releases[format].path, record=False)
    assert report.c2pa["state"] == "trusted"
    assert report.c2pa["issued_here"]
    assert "signed by this studio" in report.explanation


@pytest.mark.parametrize("format", MEDIA_TYPES)
def test_one_bit_of_sound_or_manifest_flipped_is_tampered(studio, releases, format):
    whole = releases[format].path.read_bytes()
    sound, claim = bytearray(whole), bytearray(whole)
    sound[len(whole) // 2] ^= 1
    claim[whole.find(b"trainedAlgorithmicMedia") + 3] ^= 1
    for content in (sound, claim):
        found = state(studio, bytes(content))
        assert found["state"] == "tampered"
        assert found["failures"]


def test_a_stripped_manifest_is_recovered_by_the_seal(studio, releases):
    release = releases["wav"]
    stripped = encode(read(release.path), "flac")
    report = as_owner(studio).verification.verify(stripped, record=False)
    assert report.verdict is Verdict.SEALED
    assert report.c2pa["state"] == "recovered from ledger"
    assert report.c2pa["label"] == release.c2pa["label"]
    assert "stripped" in report.explanation


def test_another_chain_is_untrusted_whatever_it_claims(studio, releases):
    plain = encode(read(releases["wav"].path), "wav")
    forged = signer().sign(plain, "wav", replace(CLAIM, seal_id=releases["wav"].seal_id))
    found = state(studio, forged.content)
    assert found["state"] == "untrusted"
    assert not found["issued_here"]


def test_a_manifest_moved_to_another_file_is_tampered(studio, releases):
    credentials = signer()
    first = credentials.sign(encode(music(3, 2.0), "mp3"), "mp3", CLAIM)
    other = encode(music(4, 2.0), "mp3")
    at = first.content.find(b"\xff\xfb", first.content.find(first.manifest) + len(first.manifest))
    moved = first.content[:at] + other[other.find(b"\xff\xfb") :]
    assert credentials.examine(io.BytesIO(moved)).state is CredentialState.TAMPERED


def test_music_without_a_manifest_is_absent(studio):
    found = state(studio, encode(music(77, 6.0), "wav"))
    assert found == {"state": "absent", "explanation": "No Content Credentials in the file."}


def test_a_release_from_before_files_were_signed_still_verifies(studio, releases):
    old = replace(releases["wav"], c2pa=None, output_id="f" * 16)
    desk = CredentialInspector(studio.credentials, ManifestStore(studio.ledger()))
    plain = encode(music(1, 2.0), "wav")
    found = desk.examine(plain, studio.config.uploads, release=old)
    assert found.reading.state is CredentialState.ABSENT
    assert "before files were signed" in found.explanation


def test_an_expired_manifest_is_told_from_a_strangers(studio):
    content = encode(music(5, 2.0), "wav")
    signer().sign(content, "wav", CLAIM)  # loads what signing takes
    credentials = signer(timedelta(seconds=5))
    signed = credentials.sign(content, "wav", CLAIM)

    class Ours:
        def labelled(self, label):
            return signed_here if label == signed.label else None

        def of_output(self, _):
            return None

    class signed_here:
        content = signed.manifest

    uploads = studio.config.uploads
    while credentials.trust.current.why_not(datetime.now(UTC)) is None:
        time.sleep(0.2)
    ours = CredentialInspector(lambda: credentials, Ours()).examine(
        signed.content, uploads, release=None
    )
    assert ours.reading.state is CredentialState.EXPIRED
    stranger = CredentialInspector(lambda: signer(), Ours()).examine(
        signer().sign(encode(music(5, 2.0), "wav"), "wav", CLAIM).content, uploads, release=None
    )
    assert stranger.reading.state is CredentialState.UNTRUSTED
    changed = bytearray(signed.content)
    changed[100] ^= 1
    spoiled = CredentialInspector(lambda: credentials, Ours()).examine(
        bytes(changed), uploads, release=None
    )
    assert spoiled.reading.state is CredentialState.TAMPERED
    with pytest.raises(CredentialError):  # and an expired chain does not sign
        credentials.sign(encode(music(5, 2.0), "wav"), "wav", CLAIM)
    assert credentials.recover(signed.manifest).state is CredentialState.RECOVERED
    assert (
        signer().recover(signer().sign(encode(music(5, 2.0), "wav"), "wav", CLAIM).manifest) is None
    )


def test_uploads_are_read_in_a_child_with_the_same_result(tmp_path, releases, studio):
    with make_studio(tmp_path, isolate=True) as other:
        found = state(other, releases["m4a"].path.read_bytes())
        assert found["state"] == "untrusted"  # another studio, another root
        broken = bytearray(releases["m4a"].path.read_bytes())
        at = broken.find(b"jumb")
        broken[at + 4 : at + 400] = b"\xff" * 396
        assert state(other, bytes(broken))["state"] == "tampered"


def test_a_manifest_that_takes_too_long_is_not_called_tampered(tmp_path, monkeypatch):
    import watermark.audio.sandbox as sandbox
    from watermark.errors import AudioTooLongError

    def too_long(*_):
        raise AudioTooLongError("x: decoding took longer than 1 s")

    monkeypatch.setattr(sandbox, "isolated_json", too_long)
    content = signer().sign(encode(music(1, 1.0), "wav"), "wav", CLAIM).content
    with make_studio(tmp_path, isolate=True) as studio:
        assert as_owner(studio).verification.credentials(content).to_json()["state"] == "unreadable"
        (tmp_path / "empty").touch()
        assert (
            as_owner(studio).verification.credentials(tmp_path / "empty").to_json()["state"]
            == "absent"
        )


def test_a_manifest_slipped_into_the_database_is_noticed(tmp_path):
    from sqlalchemy import text

    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        release = as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=1, format="wav")
        )
        with studio.ledger().database.writing() as connection:
            connection.execute(text("DROP TRIGGER manifest_no_update"))
            connection.execute(text("UPDATE manifest SET content = x'00'"))
        with pytest.raises(CredentialError, match="not the one its ledger entry names"):
            as_owner(studio).verification.verify(encode(read(release.path), "wav"), record=False)


def test_no_address_in_a_file_is_ever_called():
    called = []

    class Trap(BaseHTTPRequestHandler):
        def do_GET(self):
            called.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Trap)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        credentials = signer()
        identity = credentials.trust.current
        builder = c2pa.Builder(
            {"title": "bait", "assertions": []},
            context=c2pa.Context.from_dict(credentials.settings()),
        )
        builder.set_no_embed()
        builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/bait")
        signed = io.BytesIO()
        with c2pa.Signer.from_callback(
            identity.sign, c2pa.C2paSigningAlg.ES256, identity.chain_pem
        ) as by:
            builder.sign(by, "audio/mpeg", io.BytesIO(encode(music(6, 1.0), "mp3")), signed)
        assert b"/bait" in signed.getvalue()
        credentials.examine(io.BytesIO(signed.getvalue()))
        assert called == []
        with pytest.raises(c2pa.C2paError):  # the negative control: as the library comes
            c2pa.Reader("audio/mpeg", io.BytesIO(signed.getvalue()))
        assert called == ["/bait"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- failing closed --------------------------------------------------------------------------------


def test_without_a_signature_nothing_is_released(tmp_path, caplog):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        identity = studio.credentials().trust.current

        def unplugged(_data):
            raise RuntimeError("the module is unplugged")

        broken = replace(identity, sign=unplugged)
        vars(studio)["_credentials"] = Credentials(
            studio.config.credentials, Trust(broken, identity.root_pem)
        )
        with pytest.raises(CredentialError, match="unplugged"):
            as_owner(studio).generation.create(
                as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=1, format="wav")
            )
        assert left_over(studio) == []
        assert as_owner(studio).outputs.recent() == []


def test_a_timestamp_authority_that_is_away_stops_the_release():
    credentials = signer()
    away = Credentials(
        DEVELOPMENT.model_copy(update={"timestamp_authority": "http://127.0.0.1:9/"}),
        credentials.trust,
    )
    with pytest.raises(CredentialError):
        away.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM)


def test_grants_that_change_while_music_is_made_stop_the_release(tmp_path, monkeypatch):
    from studio.consent import ConsentPolicy

    decide = ConsentPolicy.decide
    calls = []

    def changing(self, *args, **kwargs):
        decision = decide(self, *args, **kwargs)
        calls.append(decision)
        if len(calls) == 1:
            return decision
        tags = [
            replace(tag, grant=tag.grant.model_copy(update={"id": "another-grant"}))
            for tag in decision.tags
        ]
        return replace(decision, tags=tuple(tags))

    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        request = as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=1, format="wav")
        monkeypatch.setattr(ConsentPolicy, "decide", changing)
        with pytest.raises(ConsentRefusedError, match="changed while the music was made"):
            as_owner(studio).generation.create(request)
        assert left_over(studio) == []
        assert studio.ledger().entries(newest_first=True, limit=1)[0].kind == "refusal"


# -- keys and certificates -------------------------------------------------------------------------


def test_a_development_chain_is_made_once_and_owner_only(tmp_path):
    first = load_trust(DEVELOPMENT, tmp_path, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count("PRIVATE KEY") == 2  # begin and end: the leaf's, not the root's
    assert load_trust(DEVELOPMENT, tmp_path, tmp_path).current.sha256 == first.current.sha256
    file.chmod(0o644)
    with pytest.raises(CredentialError, match="open to other users"):
        load_trust(DEVELOPMENT, tmp_path, tmp_path)
    file.chmod(0o600)
    file.write_text("nonsense")
    with pytest.raises(CredentialError, match="damaged"):
        load_trust(DEVELOPMENT, tmp_path, tmp_path)


def test_the_leaf_has_the_profile_of_a_signer():
    leaf = make_development_identity(datetime.now(UTC)).certificates[0]
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert basic.critical and not basic.value.ca
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION in extended.value


def test_a_chain_near_its_end_is_followed_by_another_and_stays_trusted(tmp_path):
    old = load_trust(DEVELOPMENT, tmp_path, tmp_path, at=datetime.now(UTC) - timedelta(days=3500))
    new = load_trust(DEVELOPMENT, tmp_path, tmp_path)
    assert new.current.sha256 != old.current.sha256
    assert old.current.root_pem in new.anchors_pem
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "development-0001.pem",
        "development-0002.pem",
    ]


def test_a_chain_made_while_the_clock_was_far_ahead_is_passed_over(tmp_path):
    ahead = datetime.now(UTC) + timedelta(days=4000)
    wrong = load_trust(DEVELOPMENT, tmp_path, tmp_path, at=ahead)
    with pytest.raises(CredentialError, match="the clock of this machine says"):
        Credentials(DEVELOPMENT, wrong).sign(encode(music(1, 1.0), "wav"), "wav", CLAIM)
    right = load_trust(DEVELOPMENT, tmp_path, tmp_path)
    assert right.current.why_not(datetime.now(UTC)) is None
    credentials = Credentials(DEVELOPMENT, right)
    signed = credentials.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM)
    assert credentials.examine(io.BytesIO(signed.content)).state is CredentialState.TRUSTED
    again = load_trust(DEVELOPMENT, tmp_path, tmp_path)
    assert again.current.sha256 == right.current.sha256, "no chain is made at every start"
    later = load_trust(DEVELOPMENT, tmp_path, tmp_path, at=ahead)
    assert later.current.sha256 == wrong.current.sha256
    assert len(list(tmp_path.iterdir())) == 2


def test_an_expired_production_chain_is_named_with_the_clock(tmp_path):
    identity = make_development_identity(
        datetime.now(UTC) - timedelta(days=30), valid=timedelta(days=10)
    )
    credentials = Credentials(DEVELOPMENT, Trust(identity, identity.root_pem))
    with pytest.raises(CredentialError, match=r"valid from .* clock .* renew the certificate"):
        credentials.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM)


def test_a_chain_taken_out_of_its_folder_is_trusted_no_more(tmp_path):
    stolen = Credentials(DEVELOPMENT, load_trust(DEVELOPMENT, tmp_path, tmp_path))
    signed = stolen.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM).content
    (tmp_path / "development-0001.pem").unlink()
    after = Credentials(DEVELOPMENT, load_trust(DEVELOPMENT, tmp_path, tmp_path))
    assert after.examine(io.BytesIO(signed)).state is CredentialState.UNTRUSTED


def test_a_root_the_operator_adds_is_trusted_and_named_as_somebody_else(studio, tmp_path):
    other = signer()
    (tmp_path / "other.pem").write_text(other.trust.anchors_pem)
    config = DEVELOPMENT.model_copy(update={"trust_anchors": ("other.pem",)})
    (tmp_path / "own").mkdir()
    credentials = Credentials(config, load_trust(config, tmp_path / "own", tmp_path))
    signed = other.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM).content
    desk = CredentialInspector(lambda: credentials, ManifestStore(studio.ledger()))
    found = desk.examine(signed, studio.config.uploads, release=None)
    assert found.reading.state is CredentialState.TRUSTED
    assert not found.issued_here
    assert "not this studio" in found.explanation


def test_two_starts_at_once_share_one_chain(tmp_path):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(load_trust(DEVELOPMENT, tmp_path, tmp_path).current.sha256)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(list(tmp_path.iterdir())) == 1


_module_key = make_development_identity(datetime(2026, 11, 22, tzinfo=UTC))


def hardware_module(data: bytes) -> bytes:
    """Stands for a callback that asks a hardware module."""
    return _module_key.sign(data)


def test_production_chains_by_file_and_by_callback(tmp_path):
    identity = make_development_identity(datetime.now(UTC))
    (tmp_path / "chain.pem").write_text(identity.chain_pem)
    (tmp_path / "module.pem").write_text(_module_key.chain_pem)
    key = tmp_path / "key.pem"
    key.write_text(identity.key_pem)
    by_file = DEVELOPMENT.model_copy(
        update={"certificate_chain": "chain.pem", "private_key": "key.pem"}
    )
    with pytest.raises(ConfigError, match="open to other users"):
        load_trust(by_file, tmp_path, tmp_path)
    key.chmod(0o600)
    by_callback = DEVELOPMENT.model_copy(
        update={"certificate_chain": "module.pem", "signer": f"{__name__}:hardware_module"}
    )
    for config in (by_file, by_callback):
        credentials = Credentials(config, load_trust(config, tmp_path, tmp_path))
        assert not credentials.trust.current.development
        signed = credentials.sign(encode(music(1, 1.0), "wav"), "wav", CLAIM)
        assert credentials.examine(io.BytesIO(signed.content)).state is CredentialState.TRUSTED
    wrong = by_file.model_copy(update={"certificate_chain": "module.pem"})
    with pytest.raises(ConfigError, match="does not belong"):
        load_trust(wrong, tmp_path, tmp_path)
    missing = by_callback.model_copy(update={"signer": "no.such:thing"})
    with pytest.raises(ConfigError, match="cannot be found"):
        load_trust(missing, tmp_path, tmp_path)


@pytest.mark.parametrize(
    "choice",
    [
        {"certificate_chain": "a.pem"},
        {"private_key": "k.pem"},
        {"certificate_chain": "a.pem", "private_key": "k.pem", "signer": "m:f"},
        {"namespace": "nodots"},
        {"timestamp_authority": "ftp://x"},
    ],
)
def test_half_a_configuration_is_refused(choice):
    with pytest.raises(ValueError, match=r"certificate_chain|namespace|timestamp_authority"):
        CredentialsConfig.model_validate({**DEVELOPMENT.model_dump(), **choice})


def test_other_algorithms_sign_too(tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ed25519

    from studio.provenance.credentials import certificates

    key = ed25519.Ed25519PrivateKey.generate()
    algorithm, sign = certificates._signing_function(key)
    key.public_key().verify(sign(b"x"), b"x")
    assert algorithm == "ed25519"
    assert key.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )


def test_a_signed_file_sounds_the_same():
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 32_000))).astype(np.float32)
    plain = encode(Waveform(noise, 32_000), "m4a")
    signed = signer().sign(plain, "m4a", CLAIM)
    assert np.array_equal(read(plain).samples, read(signed.content).samples)
