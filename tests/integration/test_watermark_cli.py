"""The ``watermark`` command from end to end, on a seal model that needs no training."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import watermark.cli.common
import watermark.cli.main
from tests.support.seals import SilentSeal, TonalSeal
from watermark.audio.waveform import Waveform, read, write
from watermark.coding.message import SealKey
from watermark.evaluation.bench import synthetic_clips

SEAL = "00112233aabbccdd"
LOAD_MODEL = watermark.cli.common.load_model


@pytest.fixture(autouse=True)
def tonal_model(monkeypatch):
    monkeypatch.delenv("WATERMARK_KEY_FILE", raising=False)
    monkeypatch.setattr(watermark.cli.common, "load_model", lambda name, device="cpu": TonalSeal())


@pytest.fixture
def folder(tmp_path):
    """A key, a song of 8 s, and a list of ids."""
    SealKey(1, b"k" * 32).save(tmp_path / "key.json")
    song = synthetic_clips(count=1, seconds=8.0)[0].waveform
    write(tmp_path / "song.wav", Waveform(song.samples * np.float32(0.1), song.rate))
    lines = [f"{n:016x} 30" for n in range(20)]
    (tmp_path / "ids.txt").write_text("# seals\n" + "\n".join([*lines, f"{SEAL} 8 1", ""]))
    return tmp_path


def call(*arguments, code: int = 0):
    result = CliRunner().invoke(watermark.cli.main.main, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def embed(folder, target="sealed.flac", *more, code=0):
    return call(
        "embed",
        folder / "song.wav",
        folder / target,
        "--seal-id",
        SEAL,
        "--key-file",
        folder / "key.json",
        *more,
        code=code,
    )


class TestEmbed:
    @pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a", "opus", "ogg"])
    def test_then_identify(self, folder, extension):
        target = f"sealed.{extension}"
        embed(folder, target)
        assert read(folder / target).duration_s == pytest.approx(8.0, abs=0.03)
        result = call(
            "identify",
            folder / target,
            "--ids",
            folder / "ids.txt",
            "--key-file",
            folder / "key.json",
            "--json",
        )
        named = json.loads(result.stdout)["identification"]
        assert named["seal_id"] == SEAL
        assert named["offset_s"] == pytest.approx(0.0, abs=0.09)
        assert named["chance_bound"] <= 1e-6

    def test_says_what_it_did(self, folder):
        record = json.loads(embed(folder, "sealed.wav", "--json").stdout)
        assert record["seal_id"] == SEAL
        assert record["duration_s"] == 8.0
        assert record["model"] == "tonal-000000000000"
        assert record["identified"] is True

    def test_makes_up_an_id(self, folder):
        ids = {
            json.loads(
                call(
                    "embed",
                    folder / "song.wav",
                    folder / "x.wav",
                    "--key-file",
                    folder / "key.json",
                    "--json",
                ).stdout
            )["seal_id"]
            for _ in range(2)
        }
        assert len(ids) == 2

    def test_key_from_the_environment(self, folder, monkeypatch):
        monkeypatch.setenv("WATERMARK_KEY_FILE", str(folder / "key.json"))
        call("embed", folder / "song.wav", folder / "x.wav", "--seal-id", SEAL)

    def test_a_seal_that_cannot_be_read_back_is_not_handed_out(self, folder, monkeypatch):
        monkeypatch.setattr(
            watermark.cli.common, "load_model", lambda name, device="cpu": SilentSeal()
        )
        result = embed(folder, "sealed.wav", code=1)
        assert "nothing was written" in result.stderr
        assert sorted(p.name for p in folder.iterdir()) == ["ids.txt", "key.json", "song.wav"]

    def test_silence_is_refused(self, folder):
        write(folder / "song.wav", Waveform(np.zeros((1, 80_000), np.float32), 16_000))
        embed(folder, "sealed.wav", code=1)
        assert not (folder / "sealed.wav").exists()

    @pytest.mark.parametrize(
        ("arguments", "code", "reason"),
        [
            (["--seal-id", "zz"], 2, "not a seal id"),
            (["--strength", "99"], 2, "strength"),
            (["--bitrate", "64000"], 3, "bit rate"),
        ],
    )
    def test_refusals(self, folder, arguments, code, reason):
        result = embed(folder, "sealed.wav", *arguments, code=code)
        assert reason in result.stderr
        assert not (folder / "sealed.wav").exists()

    def test_other_refusals(self, folder):
        assert "extension" in embed(folder, "sealed.xyz", code=3).stderr
        assert "key-file" in call("embed", "a.wav", "b.wav", code=2).stderr
        missing = call(
            "embed",
            folder / "none.wav",
            folder / "x.wav",
            "--key-file",
            folder / "key.json",
            code=3,
        )
        assert "none.wav: no such file" in missing.stderr
        assert str(folder) not in missing.stderr


class TestDetect:
    def test_contract(self, folder):
        embed(folder)
        result = call("detect", folder / "sealed.flac", "--json", "--message-logits")
        record = json.loads(result.stdout)
        assert record["file"] == str(folder / "sealed.flac")
        assert record["detected"] is True
        assert record["duration_s"] == 8.0
        for name in ("score", "p_value", "threshold", "false_positive_rate", "model"):
            assert name in record
        assert record["segments"]
        assert set(record["segments"][0]) == {"start_s", "end_s", "score"}
        assert np.array(record["message_logits"]).shape[1] == 16
        assert "message_logits" not in json.loads(
            call("detect", folder / "sealed.flac", "--json").stdout
        )

    def test_nothing_detected_is_exit_code_1(self, folder):
        result = call("detect", folder / "song.wav", code=1)
        assert "no seal detected" in result.stdout

    def test_one_bad_file_never_stops_the_run(self, folder):
        embed(folder)
        (folder / "bad.mp3").write_bytes(b"nothing")
        files = [folder / name for name in ("bad.mp3", "sealed.flac", "none.wav", "song.wav")]
        result = call("detect", *files, "--json", code=3)
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["file"] for record in records] == [str(f) for f in files]
        assert records[0]["kind"] == "UnreadableAudioError"
        assert records[1]["detected"] is True
        assert "no such file" in records[2]["error"]
        assert records[3]["detected"] is False
        text = call("detect", *files, code=3)
        assert len(text.stdout.splitlines()) == 2
        errors = [line for line in text.stderr.splitlines() if line.startswith("Error")]
        assert len(errors) == 2  # a busy machine adds a line of progress

    def test_names_the_seal_when_told_the_ids(self, folder):
        embed(folder)
        arguments = ["--ids", folder / "ids.txt", "--key-file", folder / "key.json"]
        text = call("detect", folder / "sealed.flac", *arguments).stdout
        assert SEAL in text
        assert "of the original" in text


class TestIdentify:
    def test_unknown_seal_is_exit_code_1(self, folder):
        embed(folder)
        (folder / "ids.txt").write_text(f"{1:016x}\n")
        result = call(
            "identify",
            folder / "sealed.flac",
            "--ids",
            folder / "ids.txt",
            "--key-file",
            folder / "key.json",
            code=1,
        )
        assert "no known seal" in result.stdout

    def test_a_list_may_say_that_a_seal_is_scrambled(self, folder):
        embed(folder)
        arguments = ["--ids", folder / "ids.txt", "--key-file", folder / "key.json"]
        (folder / "ids.txt").write_text(f"{SEAL} 8 1 scrambled\n")
        assert SEAL in call("identify", folder / "sealed.flac", *arguments).stdout
        (folder / "ids.txt").write_text(f"{SEAL} 8 1 plain\n")
        result = call("identify", folder / "sealed.flac", *arguments, code=2)
        assert "[scrambled]" in result.stderr

    def test_another_key_names_nothing(self, folder):
        embed(folder)
        SealKey(1, b"x" * 32).save(folder / "other.json")
        call(
            "identify",
            folder / "sealed.flac",
            "--ids",
            folder / "ids.txt",
            "--key-file",
            folder / "other.json",
            code=1,
        )

    def test_several_epochs(self, folder):
        embed(folder)
        SealKey(2, b"x" * 32).save(folder / "two.json")
        keys = ["--key-file", folder / "key.json", "--key-file", folder / "two.json"]
        (folder / "ids.txt").write_text(f"{SEAL} 8 1\n{5:016x} 8 2\n")
        call("identify", folder / "sealed.flac", "--ids", folder / "ids.txt", *keys)
        (folder / "ids.txt").write_text(f"{SEAL} 8\n")
        result = call(
            "identify", folder / "sealed.flac", "--ids", folder / "ids.txt", *keys, code=2
        )
        assert "line 1" in result.stderr

    @pytest.mark.parametrize(
        "line", ["zz", f"{SEAL} x", f"{SEAL} 5 9", f"{SEAL} -1", f"{SEAL} 1 1 1"]
    )
    def test_wrong_lists(self, folder, line):
        (folder / "ids.txt").write_text(f"\n{line}\n")
        result = call(
            "identify",
            folder / "song.wav",
            "--ids",
            folder / "ids.txt",
            "--key-file",
            folder / "key.json",
            code=2,
        )
        assert "line 2" in result.stderr

    def test_needs_ids_and_key(self, folder):
        assert "--ids" in call("identify", folder / "song.wav", code=2).stderr
        assert (
            "--key-file"
            in call("identify", folder / "song.wav", "--ids", folder / "ids.txt", code=2).stderr
        )


class TestKey:
    def test_create_is_private_and_never_overwrites(self, tmp_path):
        path = tmp_path / "key.json"
        result = call("key", "create", path, "--epoch", 2)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = SealKey.load(path)
        assert key.epoch == 2
        assert key.secret.hex() not in result.output
        assert "not overwritten" in call("key", "create", path, code=2).stderr
        assert SealKey.load(path) == key

    def test_a_key_open_to_others_is_refused(self, folder):
        (folder / "key.json").chmod(0o644)
        assert "chmod 600" in embed(folder, "x.wav", code=2).stderr


class TestBench:
    def test_reports(self, tmp_path):
        attacks = tmp_path / "list.yaml"
        attacks.write_text(
            "attacks:\n"
            "  - {name: clean, family: none, apply: clean}\n"
            "  - {name: silence, family: level, apply: gain, db: -1000}\n"
        )
        arguments = ["--clips", 2, "--seconds", 6, "--decoys", 50, "--attacks", attacks]
        result = call("bench", *arguments, "--out", tmp_path / "report")
        assert result.stdout.splitlines()[0].startswith("1 attack fails")
        assert "silence: 0 of 2 detected" in result.stdout
        report = json.loads((tmp_path / "report" / "bench.json").read_text())
        clean = next(r for r in report["results"] if r["attack"] == "clean")
        assert (clean["detected"], clean["identified"]) == (2, 2)
        assert report["registered"] == 52
        assert "smoke test" in report["setting"]["audio"]
        assert "<table>" in (tmp_path / "report" / "bench.html").read_text()
        assert (tmp_path / "report" / "bench.png").read_bytes().startswith(b"\x89PNG")

    def test_the_figures_do_not_depend_on_the_number_of_processes(self, tmp_path, monkeypatch):
        """With the house model: what is put in place of one here does not reach the workers."""
        monkeypatch.setattr(watermark.cli.common, "load_model", LOAD_MODEL)
        attacks = tmp_path / "list.yaml"
        attacks.write_text(
            "attacks:\n"
            "  - {name: clean, family: none, apply: clean}\n"
            "  - {name: noise, family: noise, apply: white-noise, snr_db: 20}\n"
        )
        arguments = ["--clips", 1, "--seconds", 6, "--decoys", 50, "--attacks", attacks, "--json"]
        one, two = (call("bench", *arguments, "--only", "n", "--jobs", n) for n in (1, 2))
        assert json.loads(two.stdout) == json.loads(one.stdout)
        for result in (one, two):
            said = [line.split(",")[0] for line in result.stderr.splitlines()]
            assert said == ["1 of 2 attacks", "2 of 2 attacks"]

    def test_recordings_are_mixed_in_or_named_as_left_out(self, tmp_path):
        noise = tmp_path / "noise"
        noise.mkdir()
        hiss = np.random.default_rng(0).standard_normal((1, 48_000)).astype(np.float32)
        write(str(noise / "hiss.wav"), Waveform(0.1 * hiss, 16_000))
        attacks = tmp_path / "list.yaml"
        attacks.write_text(
            "attacks:\n"
            "  - {name: clean, family: none, apply: clean}\n"
            "  - {name: street, family: noise, apply: recorded-noise, snr_db: 20}\n"
        )
        arguments = ["--clips", 1, "--seconds", 6, "--decoys", 5, "--attacks", attacks, "--json"]
        without = call("bench", *arguments)
        assert "left out: street needs --noise DIR" in without.stderr
        report = json.loads(without.stdout)
        assert [r["attack"] for r in report["results"]] == ["clean"]
        assert report["setting"]["left out (no --noise DIR)"] == "street"
        noisy = json.loads(call("bench", *arguments, "--noise", noise).stdout)
        [street] = [r for r in noisy["results"] if r["attack"] == "street"]
        assert street["clips"] == 1
        assert street["si_snr_db"] == pytest.approx(20, abs=1)
        assert "no attack whose name" in call("bench", "--only", "no such thing", code=2).stderr

    def test_on_a_folder_of_music(self, folder):
        (folder / "broken.mp3").write_bytes(b"nothing")
        result = call("bench", "--audio", folder, "--seconds", 6, "--only", "clean", "--json")
        assert json.loads(result.stdout)["clips"] == ["song.wav"]
        assert "left out: broken.mp3" in result.stderr

    def test_wrong_list(self, tmp_path):
        assert "no such file" in call("bench", "--attacks", tmp_path / "x.yaml", code=2).stderr


class TestHelp:
    @pytest.mark.parametrize(
        "command", [[], ["embed"], ["detect"], ["identify"], ["bench"], ["key"]]
    )
    def test_help(self, command):
        text = call(*command, "--help").stdout
        assert "Usage:" in text
        assert "Options:" in text

    def test_usage_errors(self):
        assert call("detect", code=2).stderr
        assert "No such command" in call("nonsense", code=2).stderr


def test_the_commands_of_the_documentation_run(folder, monkeypatch):
    """Every line of the first block of docs/watermark-cli.md, in order, in one folder."""
    page = (Path(__file__).parents[2] / "docs" / "watermark-cli.md").read_text(encoding="utf-8")
    block = next(part for part in page.split("```") if "watermark key create" in part)
    lines = [line.split("#")[0].split() for line in block.strip().splitlines()]
    assert len(lines) >= 6
    monkeypatch.chdir(folder)
    song = read("song.wav")
    write("other.ogg", song)
    (folder / "music").mkdir()
    write("music/a.flac", Waveform(np.tile(song.samples, 2), song.rate))
    (folder / "seals.txt").write_text(f"{SEAL} 8\n")
    for words in lines:
        assert words[0] == "watermark"
        if words[1] == "identify":
            write("clip.m4a", read("sealed.mp3").slice(1.0, 7.0))
        # The whole list of attacks takes minutes; one of them shows that the line is right.
        more = ["--only", "clean"] if words[1] == "bench" else []
        # `detect` looks at one file with a seal and one without: exit code 1.
        call(*words[1:], *more, code=1 if words[1] == "detect" else 0)
    assert (folder / "report" / "bench.html").exists()


@pytest.mark.parametrize(
    "module", ["watermark", "watermark.cli.main", "watermark.evaluation.bench"]
)
def test_importing_is_free(module):
    """No networks, no codecs, no output; well below a second even on a slow machine."""
    code = (
        f"import sys, {module}; heavy = {{'torch', 'audioseal', 'av', 'soundfile', 'soxr', "
        "'scipy', 'yaml', 'huggingface_hub'}; print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
    assert result.stderr == ""


def test_public_names():
    import watermark as package

    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__module__.startswith("watermark.")
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError):
        _ = package.nonsense
