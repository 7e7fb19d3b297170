"""Hub checkpoints of the real layout: loaded from a directory, over HTTP, and never when offline.

The checkpoint is made here (tests/support/models.py); a small server speaks the part of the hub's
protocol that `huggingface_hub` uses, so a download is a real one, and a request that should not be
made is counted.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.core.errors import CheckpointError, HubUnreachableError
from studio.core.tags import Vocabulary
from studio.music.models.generator import MusicGenerator
from tests.support.models import TAGS_FILE, tiny_hub_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def tags():
    return Vocabulary.load(TAGS_FILE).parse(["genre/waltz", "mood/calm"])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_hub_model(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def copy(config, tmp_path):
    """The checkpoint again, to be damaged."""
    import shutil

    shutil.copytree(config.path, tmp_path / "copy")
    return config.model_copy(update={"path": tmp_path / "copy"})


def test_it_makes_the_music_that_audiocraft_makes_of_the_same_files(config, tags, monkeypatch):
    """audiocraft's own loader, decoder and codec against ours: the same file, the same samples."""
    made = MusicGenerator(config, offline=True).generate(tags, duration_s=1, seed=7)
    from audiocraft.models import MusicGen, loaders

    monkeypatch.chdir(config.path)  # where audiocraft finds "t5-small" without the hub
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
        lm = loaders.load_lm_model(str(config.path))
        codec = loaders.load_compression_model(str(config.path))
    musicgen = MusicGen("audiocraft's", codec, lm, max_duration=30)  # its stride is 18 s
    musicgen.set_generation_params(duration=1, top_k=16)
    torch.manual_seed(7)
    expected = musicgen.generate([", ".join(tag.phrase for tag in tags)])[0].numpy()
    expected = expected * min(1.0, 0.98 / np.abs(expected).max())
    assert made.samples.shape == expected.shape == (1, 32000)
    assert np.abs(made.samples - expected).max() < 1e-4
    assert made.samples.std() > 0.01


@pytest.mark.parametrize("precision", ["exact", "int8"])
def test_a_loaded_model_says_in_what_precision_it_is_decoded(config, precision):
    generator = MusicGenerator(config.model_copy(update={"precision": precision}), offline=True)
    assert generator.info.precision is None
    generator.load()
    assert generator.info.precision == precision


def test_stereo_and_melody_checkpoints_load(tmp_path, tags):
    stereo = tiny_hub_model(tmp_path / "stereo", stereo=True)
    music = MusicGenerator(stereo, offline=True).generate(tags, duration_s=0.5, seed=1)
    assert music.samples.shape == (2, 16000)
    assert not np.array_equal(music.samples[0], music.samples[1])
    melody = tiny_hub_model(tmp_path / "melody", melody=True)
    assert MusicGenerator(melody, offline=True).generate(tags, duration_s=0.5, seed=1).length


def test_an_omegaconf_object_in_the_pickle_is_read(copy, tags):
    """Older exports hold `xp.cfg` as an object, not as text; the allow-list admits just that."""
    from omegaconf import OmegaConf

    expected = MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        export = torch.load(copy.path / name, weights_only=True)
        export["xp.cfg"] = OmegaConf.create(export["xp.cfg"])
        torch.save(export, copy.path / name)
    again = MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)
    assert np.array_equal(again.samples, expected.samples)


class Attack:
    """Unpickled, it would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_code_in_a_pickle_is_not_run(copy, tags, tmp_path):
    export = torch.load(copy.path / "state_dict.bin", weights_only=True)
    export["more"] = Attack(tmp_path / "trace")
    torch.save(export, copy.path / "state_dict.bin")
    with pytest.raises(CheckpointError, match=r"state_dict\.bin is damaged"):
        MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)
    assert not (tmp_path / "trace").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_config(path: Path) -> None:
    export = torch.load(path, weights_only=True)
    del export["xp.cfg"]
    torch.save(export, path)


def without_a_weight(path: Path) -> None:
    export = torch.load(path, weights_only=True)
    export["best_state"].popitem()
    torch.save(export, path)


def of_a_list(path: Path) -> None:
    torch.save([1, 2], path)


@pytest.mark.parametrize("name", ["state_dict.bin", "compression_state_dict.bin"])
@pytest.mark.parametrize(
    "damage",
    [cut, without_config, without_a_weight, of_a_list, lambda path: path.write_bytes(b"no pickle")],
    ids=["cut", "no config", "no weight", "a list", "text"],
)
def test_a_damaged_file_is_named(copy, tags, name, damage):
    damage(copy.path / name)
    with pytest.raises(CheckpointError) as caught:
        MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)
    assert name in str(caught.value)


def test_a_missing_file_is_named(copy, tags):
    (copy.path / "state_dict.bin").unlink()
    with pytest.raises(CheckpointError, match=r"no state_dict\.bin"):
        MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)


def test_a_missing_or_damaged_text_encoder_is_named(copy, tags, monkeypatch, tmp_path):
    (copy.path / "t5-small" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="t5-small is damaged"):
        MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)
    import shutil

    shutil.rmtree(copy.path / "t5-small")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(HubUnreachableError, match=r"t5-small is not on this machine.*switched off"):
        MusicGenerator(copy, offline=True).generate(tags, duration_s=0.5, seed=1)


def test_digests_are_checked(config):
    right = {
        name: hashlib.sha256((config.path / name).read_bytes()).hexdigest()
        for name in ("state_dict.bin", "compression_state_dict.bin")
    }
    generator = MusicGenerator(config.model_copy(update={"digests": right}), offline=True)
    assert generator.info.digest is None
    generator.load()
    assert len(generator.info.digest) == 64
    wrong = config.model_copy(update={"digests": {**right, "state_dict.bin": "0" * 64}})
    with pytest.raises(CheckpointError, match=r"state_dict\.bin .* is not the file"):
        MusicGenerator(wrong, offline=True).load()


def test_a_configuration_that_misstates_the_checkpoint_is_refused(config):
    for change in ({"rate": 44100}, {"channels": 2}, {"max_duration_s": 30}):
        with pytest.raises(CheckpointError, match="correct the configuration"):
            MusicGenerator(config.model_copy(update=change), offline=True).load()


# -- over HTTP --------------------------------------------------------------------------------


@pytest.fixture
def hub(config):
    """A hub with two repositories, and the list of the requests made to it."""
    roots = {"facebook/musicgen-tiny": config.path, "t5-small": config.path / "t5-small"}
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def log_message(self, *_):
            pass

        def answer(self, *, body):
            requests.append(f"{self.command} {self.path}")
            path = self.path.partition("?")[0].strip("/")
            content = None
            for repo, root in roots.items():
                if path in (f"api/models/{repo}/revision/main", f"api/models/{repo}"):
                    names = [{"rfilename": file.name} for file in root.iterdir() if file.is_file()]
                    about = {"id": repo, "sha": COMMIT, "siblings": names}
                    content = json.dumps(about).encode()
                elif path == f"api/models/{repo}/tree/{COMMIT}":
                    tree = [
                        {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"}
                        for file in root.iterdir()
                        if file.is_file()
                    ]
                    content = json.dumps(tree).encode()
                elif path.startswith(f"{repo}/resolve/"):
                    file = root / path.rpartition("/")[2]
                    content = file.read_bytes() if file.is_file() else None
            self.send_response(200 if content is not None else 404)
            if content is None:
                if not path.startswith("broken/"):
                    self.send_header("X-Error-Code", "RepoNotFound")
                content = b"{}"
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """An empty hub cache, no proxy, and a fresh session of the hub's client."""
    import huggingface_hub

    for name in [name for name in os.environ if "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


def from_the_hub(config, repo="facebook/musicgen-tiny"):
    return MusicGenerator(config.model_copy(update={"path": None, "repo": repo}))


def test_the_hub_is_asked_when_it_may_be_and_never_when_not(
    config, hub, tags, monkeypatch, own_cache
):
    """HF_HUB_OFFLINE is set after the hub's client was imported, which then would not heed it."""
    endpoint, requests = hub
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    expected = MusicGenerator(config, offline=True).generate(tags, duration_s=0.5, seed=1)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="switched off") as caught:
        from_the_hub(config).load()
    assert "`path`" in str(caught.value)
    assert requests == []

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    fetched = from_the_hub(config).generate(tags, duration_s=0.5, seed=1)
    assert np.array_equal(fetched.samples, expected.samples)
    assert "GET /facebook/musicgen-tiny/resolve/main/state_dict.bin" in requests
    with pytest.raises(CheckpointError, match="no such repository"):
        from_the_hub(config, "facebook/no-such-model").load()

    asked = len(requests)
    for offline in ("1", "0"):  # what is here is not asked for again
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        again = from_the_hub(config).generate(tags, duration_s=0.5, seed=1)
        assert np.array_equal(again.samples, expected.samples)
    assert len(requests) == asked


def test_an_unreachable_hub_is_reported(config, monkeypatch, own_cache):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError, match="cannot be reached"):
        from_the_hub(config).load()


def test_a_failing_hub_is_an_unreachable_one(config, hub, monkeypatch, own_cache):
    endpoint, _ = hub
    monkeypatch.setenv("HF_ENDPOINT", endpoint + "/broken")  # answers 404 without the hub's codes
    with pytest.raises(HubUnreachableError, match="cannot be reached"):
        from_the_hub(config).load()
