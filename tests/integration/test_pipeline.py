"""The pipeline fails closed: no decision, no music; no seal, no file; a crash, both or neither."""

from __future__ import annotations

import hashlib
import os
import signal
import threading

import numpy as np
import pytest
import soundfile

from studio.accounts.permissions import Role
from studio.app.session import Session
from studio.core.errors import (
    AccessDeniedError,
    ConsentRefusedError,
    GenerationCancelledError,
    LedgerError,
    QuotaExceededError,
    SealingError,
    StudioError,
    UnknownTagError,
    UsageError,
)
from studio.generation.preview import Preview
from studio.generation.progress import Stage
from tests.support.accounts import add_one_of_each, with_cheap_passwords
from tests.support.seals import SilentSeal, TonalSeal
from tests.support.studios import (
    InWindows,
    PlainGenerator,
    as_owner,
    events,
    left_over,
    make_studio,
    music,
    revoke,
)
from watermark.audio.waveform import Waveform, read
from watermark.coding.identify import Codebook, CodebookEntry
from watermark.coding.message import SealId

TAGS = ["genre/jazz", "mood/calm"]


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        yield studio


def request(studio, **changes):
    return as_owner(studio).generation.request(
        changes.pop("tags", TAGS), **{"duration_s": 6.0, "seed": 7} | changes
    )


def entries(studio, kind):
    return studio.ledger().entries(kind=kind)


# -- what is released ------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "m4a"])
def test_a_release_is_sealed_recorded_and_whole(studio, format):
    release = as_owner(studio).generation.create(request(studio, format=format))
    content = release.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == release.sha256
    assert left_over(studio) == [release.path.name]

    # The seal is read from the file by the detector alone, with the key and id of the record.
    key = studio.seal_keys().of(release.seal["epoch"])
    codebook = Codebook([CodebookEntry(SealId.parse(release.seal_id), key, 6.0)])
    found = studio.sealer().read(release.path, codebook).identification
    assert found is not None
    assert found.seal_id.hex == release.seal_id

    entry = studio.ledger().entry(release.entry_index)
    assert entry.kind == "release"
    assert entry.leaf_hash.hex() == release.entry_hash
    assert entry.body["decision"]["allowed"] is True
    assert {tag["grant"] for tag in entry.body["decision"]["tags"]} == {"house-catalogue-2026"}
    assert entry.body["seal"]["readback"]["chance_bound"] < 1e-6
    assert studio.ledger().verify().ok
    assert as_owner(studio).outputs.get(release.output_id) == release
    assert as_owner(studio).outputs.recent() == [release]
    assert any("House catalogue" in line for line in release.credits)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_title_and_credits_are_in_the_file(studio, format):
    release = as_owner(studio).generation.create(request(studio, format=format))
    with soundfile.SoundFile(release.path) as file:
        told = file.copy_metadata()
    assert told["title"] == release.title
    assert told["artist"] == "Consented Music Studio"
    assert "house-catalogue-2026" in told["comment"]
    assert release.seal_id in told["comment"]


def test_title_and_credits_are_in_an_mp3(studio):
    import av

    release = as_owner(studio).generation.create(request(studio, format="mp3"))
    with av.open(str(release.path)) as file:
        assert file.metadata["title"] == release.title
        assert release.seal_id in "".join(file.metadata.values())
    assert abs(read(release.path).duration_s - 6.0) < 0.1


def test_the_seed_used_is_recorded_and_drawn_where_none_is_given(studio):
    one, two = (as_owner(studio).generation.create(request(studio, seed=None)) for _ in range(2))
    assert one.request.seed != two.request.seed
    assert one.seal_id != two.seal_id


def test_progress_names_every_stage_in_order_and_never_falls(studio):
    seen = []
    as_owner(studio).generation.create(request(studio), progress=seen.append)
    stages = list(dict.fromkeys(step.stage for step in seen))
    assert stages == list(Stage)
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_requests_from_several_threads(studio):
    releases, failures = [], []

    def work(seed):
        try:
            releases.append(as_owner(studio).generation.create(request(studio, seed=seed)))
        except StudioError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({release.seal_id for release in releases}) == 4
    assert studio.ledger().verify().ok


# -- consent ---------------------------------------------------------------------------------------


def test_a_refusal_is_recorded_and_nothing_is_generated(tmp_path):
    generator = PlainGenerator()
    with make_studio(tmp_path, generator=generator) as studio:
        with pytest.raises(ConsentRefusedError, match="genre/choral: nobody has granted it"):
            as_owner(studio).generation.create(request(studio, tags=["genre/choral"]))
        assert generator.calls == 0
        (entry,) = entries(studio, "refusal")
        assert entry.body["stage"] == "consent"
        assert entry.body["decision"]["tags"][0]["reason"] == "no-grant"
        assert left_over(studio) == []


def test_no_leaf_holds_what_a_person_typed_or_a_rights_holder_s_name(tmp_path):
    """Leaves stay for ever: what is about a person stands behind commitments, or nowhere."""
    typed = "Zebraquist " + "long title " * 20
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        made = as_owner(studio).generation.create(request(studio, title=typed, note="Quagga"))
        with pytest.raises(ConsentRefusedError):
            as_owner(studio).generation.create(
                request(studio, tags=["genre/choral"], title=typed, note="Quagga")
            )
        as_owner(studio).generation.extend(
            made.output_id, 4.0, changes={"title": "Zebraquist again"}
        )
        revoke(studio)
        with pytest.raises(ConsentRefusedError):
            as_owner(studio).generation.vary(made.output_id, changes={"title": typed})
        names = [status.holder.name for status in as_owner(studio).consent.holders()]
        assert len(studio.ledger().entries(kind="refusal")) == 2
        for entry in studio.ledger().entries():
            for text in ("Zebraquist", "Quagga", *names):
                assert text.encode() not in entry.leaf, (entry.kind, text)
        assert as_owner(studio).outputs.get(made.output_id).title == made.title == typed


def test_refusals_fill_the_quota(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        quotas = studio.config.quotas.model_copy(update={"bulk_requests": 3})
        vars(studio)["config"] = studio.config.model_copy(update={"quotas": quotas})
        for _ in range(3):
            with pytest.raises(ConsentRefusedError):
                as_owner(studio).generation.create(
                    request(studio, tags=["genre/choral"], title="x" * 270)
                )
        size = studio.ledger().size()
        for _ in range(5):
            with pytest.raises(QuotaExceededError):
                as_owner(studio).generation.create(
                    request(studio, tags=["genre/choral"], title="x" * 270)
                )
        assert studio.ledger().size() == size


def test_a_model_licence_refuses_commercial_use(studio):
    with pytest.raises(ConsentRefusedError, match="licence of model facebook/musicgen-small"):
        as_owner(studio).generation.create(
            request(studio, model="facebook/musicgen-small", use="commercial")
        )


def test_a_grant_revoked_while_the_request_runs_stops_the_release(studio):
    def revoke_late(step):
        if step.stage is Stage.READ_BACK:
            revoke(studio)

    with pytest.raises(ConsentRefusedError, match="revoked"):
        as_owner(studio).generation.create(request(studio), progress=revoke_late)
    assert left_over(studio) == []
    assert entries(studio, "release") == []
    (entry,) = entries(studio, "refusal")
    assert entry.body["stage"] == "release"
    assert {tag["reason"] for tag in entry.body["decision"]["tags"]} == {"revoked"}


@pytest.mark.parametrize("change", ["disable", "role"])
def test_an_account_that_is_closed_while_the_request_runs_stops_the_release(studio, change):
    with_cheap_passwords(studio)
    ada = add_one_of_each(studio.accounts())[Role.ARTIST]

    def close_late(step):
        if step.stage is Stage.READ_BACK:
            if change == "disable":
                studio.accounts().disable("ada", by=None)
            else:
                studio.accounts().set_role("ada", Role.VERIFIER, by=None)

    with pytest.raises(AccessDeniedError, match="any more"):
        Session(studio, ada).generation.create(request(studio), progress=close_late)
    assert left_over(studio) == []
    assert entries(studio, "release") == []
    with pytest.raises(AccessDeniedError, match="any more"):  # it stood in line until then
        Session(studio, ada).generation.create(request(studio))


def test_no_path_generates_without_an_allowing_decision_for_these_very_tags(studio):
    """By construction: composing takes the decision object, and refuses any that does not fit."""
    wanted = request(studio)
    tags = studio.vocabulary().parse(TAGS)
    refused = as_owner(studio).catalog.decide(["genre/choral", "mood/calm"])
    other = as_owner(studio).catalog.decide(["genre/rock", "mood/calm"])
    assert other.allowed
    for decision in (refused, other):
        with pytest.raises(ConsentRefusedError):
            studio.pipeline()._compose(wanted, tags, decision, run=None)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tags": []}, UsageError),
        ({"tags": ["a song like Somebody"]}, UnknownTagError),
        ({"tags": ["genre/jazz", "genre/rock"]}, UsageError),
        ({"duration_s": 1.9}, UsageError),
        ({"duration_s": 10_000.0}, UsageError),
        ({"duration_s": float("nan")}, UsageError),
        ({"seed": -1}, UsageError),
        ({"guidance": 0.0}, UsageError),
        ({"use": "training"}, UsageError),
        ({"territory": "Europe"}, UsageError),
        ({"model": "no/such-model"}, UsageError),
        ({"format": "aiff"}, UsageError),
    ],
)
def test_an_impossible_request_is_refused_before_anything_happens(studio, changes, error):
    with pytest.raises(error):
        as_owner(studio).generation.create(request(studio, **changes))
    assert events(studio) == [], "what somebody typed must not get into the ledger"


# -- sealing ---------------------------------------------------------------------------------------


def test_a_seal_model_that_does_nothing_releases_nothing(tmp_path):
    seal = SilentSeal()
    with make_studio(tmp_path, seal=seal, generator=PlainGenerator()) as studio:
        with pytest.raises(SealingError, match="could not be read back"):
            as_owner(studio).generation.create(request(studio))
        assert sorted(set(seal.strengths_used)) == list(studio.config.seal.strengths)
        assert left_over(studio) == []
        assert entries(studio, "release") == []
        (entry,) = entries(studio, "refusal")
        assert entry.body["stage"] == "seal"
        assert studio.ledger().verify().ok


def test_strength_is_raised_until_the_seal_reads_back(tmp_path):
    class Shy(TonalSeal):
        def mark(self, samples, messages, strength):
            return super().mark(samples, messages, strength) * (strength > 1.5)

    with make_studio(tmp_path, seal=Shy(), generator=PlainGenerator()) as studio:
        assert as_owner(studio).generation.create(request(studio)).seal["strength"] == 1.6


def test_the_audibility_limit_is_never_exceeded(tmp_path):
    seal = SilentSeal(max_strength=1.1)
    studio = make_studio(tmp_path, seal=seal, generator=PlainGenerator())
    with studio, pytest.raises(SealingError):
        as_owner(studio).generation.create(request(studio))
    assert max(seal.strengths_used) == 1.1


def test_a_seal_of_another_id_is_not_accepted(tmp_path):
    class Wrong(TonalSeal):
        def mark(self, samples, messages, strength):
            return super().mark(samples, 1 - messages, strength)

    with make_studio(tmp_path, seal=Wrong(), generator=PlainGenerator()) as studio:
        with pytest.raises(SealingError):
            as_owner(studio).generation.create(request(studio))
        assert left_over(studio) == []


def test_silence_is_an_error_never_an_unsealed_file(tmp_path):
    silence = Waveform(np.zeros((1, 16_000 * 6), np.float32), 16_000)
    with make_studio(tmp_path, generator=PlainGenerator(silence)) as studio:
        with pytest.raises(SealingError):
            as_owner(studio).generation.create(request(studio))
        assert left_over(studio) == []
        assert entries(studio, "refusal")[0].body["stage"] == "seal"


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 2), (44_100, 1)])
def test_other_rates_and_stereo(tmp_path, rate, channels):
    generator = PlainGenerator(music(3, 6.0, rate, channels))
    with make_studio(tmp_path, generator=generator) as studio:
        release = as_owner(studio).generation.create(request(studio))
    assert (release.rate, release.channels) == (rate, channels)


# -- cancelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.DONE])
def test_cancelling_at_any_stage_leaves_nothing(studio, stage):
    cancel = threading.Event()

    def stop(step):
        if step.stage is stage:
            cancel.set()

    if stage is Stage.RELEASE:  # the last look is at its beginning: from there it goes through
        release = as_owner(studio).generation.create(request(studio), progress=stop, cancel=cancel)
        assert release.path.exists()
        return
    with pytest.raises(GenerationCancelledError):
        as_owner(studio).generation.create(request(studio), progress=stop, cancel=cancel)
    assert left_over(studio) == []
    assert events(studio) == []


# -- crashes ---------------------------------------------------------------------------------------


def killed(tmp_path, *, at: str, when: str) -> None:
    """Run one request in a child process that is killed before or after one step of it."""
    from studio.generation.releasing.staging import Workspace
    from studio.provenance.ledger.log import Ledger

    where = {
        "write": (Workspace, "write"),
        "append": (Ledger, "append_release"),
        "inside": (Ledger, "_append"),
        "release": (Workspace, "release"),
    }
    owner, name = where[at]
    child = os.fork()
    if child == 0:
        step = getattr(owner, name)

        def deadly(*args, **kwargs):
            if when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*args, **kwargs)
            if when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        try:
            setattr(owner, name, deadly)
            studio = make_studio(tmp_path, generator=PlainGenerator())
            as_owner(studio).generation.create(request(studio))
        finally:
            os._exit(0)  # not reached: the step above kills
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child was to be killed"


@pytest.mark.parametrize(
    ("at", "when", "released"),
    [
        ("write", "before", False),
        ("write", "after", False),
        ("append", "before", False),
        ("inside", "after", False),  # in the middle of the transaction
        ("append", "after", True),
        ("release", "before", True),
        ("release", "after", True),
    ],
)
def test_a_kill_leaves_a_released_file_with_its_entry_or_neither(tmp_path, at, when, released):
    killed(tmp_path, at=at, when=when)
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        report = as_owner(studio).generation.recover()
        releases = as_owner(studio).outputs.recent()
        assert [release.path.name for release in releases] == left_over(studio)
        assert len(releases) == released
        for release in releases:
            assert hashlib.sha256(release.path.read_bytes()).hexdigest() == release.sha256
        assert report.missing == ()
        assert studio.ledger().verify().ok
        assert as_owner(studio).generation.recover().lines() == [], (
            "a second recovery finds nothing to do"
        )
        as_owner(studio).generation.create(request(studio))  # and the studio works on


def test_recovery_leaves_a_living_request_alone(studio):
    as_owner(studio).generation.create(request(studio))
    reports = []
    as_owner(studio).generation.create(
        request(studio),
        progress=lambda step: (
            reports.append(as_owner(studio).generation.recover())
            if step.stage is Stage.RELEASE
            else None
        ),
    )
    work = studio.pipeline()._own_workspace().write("unfinished.wav", b"in progress")
    reports.append(as_owner(studio).generation.recover())
    assert work.exists()
    assert all(report.lines() == [] for report in reports)


def test_a_half_written_file_is_not_taken_for_the_released_one(tmp_path):
    killed(tmp_path, at="release", when="before")
    (work,) = (path for path in (tmp_path / "home/tmp").rglob("*.wav"))
    work.write_bytes(work.read_bytes()[:-100])
    with make_studio(tmp_path) as studio:
        report = as_owner(studio).generation.recover()
        assert report.completed == ()
        assert report.missing == (work.name,), "an entry without its file is said, not hidden"
        assert left_over(studio) == []


def test_when_the_file_cannot_be_handed_out_the_next_start_does_it(tmp_path):
    with make_studio(tmp_path, generator=PlainGenerator()) as studio:
        outputs = studio.paths.outputs

        def lose_the_folder(step):
            if step.stage is Stage.RELEASE:
                outputs.rmdir()

        with pytest.raises(LedgerError, match="next start"):
            as_owner(studio).generation.create(request(studio), progress=lose_the_folder)
    with make_studio(tmp_path) as studio:
        assert len(as_owner(studio).generation.recover().completed) == 1
        (release,) = as_owner(studio).outputs.recent()
        assert hashlib.sha256(release.path.read_bytes()).hexdigest() == release.sha256


def test_when_the_ledger_cannot_be_written_nothing_is_released(studio, monkeypatch):
    def full(*_args, **_kwargs):
        raise LedgerError("disk full")

    monkeypatch.setattr(type(studio.ledger()), "append_release", full)
    with pytest.raises(LedgerError, match="disk full"):
        as_owner(studio).generation.create(request(studio))
    assert left_over(studio) == []


# -- previews --------------------------------------------------------------------------------------


def test_a_preview_carries_the_seal_of_the_output_and_ends_with_its_release(tmp_path):
    with make_studio(tmp_path, generator=InWindows()) as studio:
        preview = Preview()
        listener = preview.listen()
        release = as_owner(studio).generation.create(request(studio), preview=preview)
        sound = np.frombuffer(listener.read(1 << 24), "<i2").reshape(-1, preview.channels)
        assert listener.ended
        assert preview.listen() is None
        heard = Waveform(sound.T.astype(np.float32) / 32767, preview.rate)
        assert heard.duration_s == 6.0
        key = studio.seal_keys().of(release.seal["epoch"])
        codebook = Codebook([CodebookEntry(SealId.parse(release.seal_id), key, 6.0)])
        found = studio.sealer().read(heard, codebook).identification
        assert found is not None
        assert found.seal_id.hex == release.seal_id


def test_nothing_is_heard_before_consent_and_what_is_cancelled_is_taken_back(tmp_path):
    cancel = threading.Event()
    with make_studio(tmp_path, generator=InWindows(cancel.set)) as studio:
        refused = Preview()
        with pytest.raises(ConsentRefusedError):
            as_owner(studio).generation.create(
                request(studio, tags=["genre/choral"]), preview=refused
            )
        assert not refused.has_begun
        assert refused.listen() is None
        preview = Preview()
        listener = preview.listen()
        with pytest.raises(GenerationCancelledError):
            as_owner(studio).generation.create(request(studio), preview=preview, cancel=cancel)
        assert listener.ended
        assert listener.read() == b""
        assert left_over(studio) == []


# -- takes -----------------------------------------------------------------------------------------


def test_takes_are_released_each_with_its_own_seed_seal_and_entry(studio):
    takes = as_owner(studio).generation.create_takes(request(studio), 3)
    releases = [take.release for take in takes]
    assert [release.request.seed for release in releases] == [7, 8, 9]
    assert len({release.seal_id for release in releases}) == 3
    assert len(entries(studio, "release")) == 3
    assert studio.ledger().verify().ok
    assert sorted(left_over(studio)) == sorted(release.path.name for release in releases)
    usage = as_owner(studio).operation.usage().accounts[0]
    assert (usage.released, usage.seconds) == (3, 18.0)


def test_takes_that_are_refused_are_one_refusal_on_record(studio):
    with pytest.raises(ConsentRefusedError):
        as_owner(studio).generation.create_takes(request(studio, tags=["genre/choral"]), 4)
    assert len(entries(studio, "refusal")) == 1


def test_a_take_that_finds_no_place_in_the_quota_leaves_the_others(studio):
    limits = studio.config.quotas.model_copy(update={"outputs_per_day": 2})
    studio.config = studio.config.model_copy(update={"quotas": limits})
    takes = as_owner(studio).generation.create_takes(request(studio), 3)
    assert sorted(type(take.error).__name__ for take in takes) == [
        "NoneType", "NoneType", "QuotaExceededError",
    ]  # fmt: skip
    assert len(entries(studio, "release")) == 2
