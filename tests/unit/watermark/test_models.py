"""Loading seal models: what is accepted, and how what is not is refused."""

import json
import shutil
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.unit.seal_carriers import music
from watermark.coding.message import SealId, SealKey
from watermark.detection.detect import detect
from watermark.embedding.embed import embed
from watermark.errors import SealModelError
from watermark.models.base import BUILTIN, SCRAMBLING_WEIGHTS, SealModel, SealModelConfig
from watermark.models.loading import load_seal_model

WEIGHTS = Path(__file__).parents[3] / "watermark" / "models" / "weights"
CONFIGS = Path(__file__).parents[3] / "configs" / "watermark"


def test_the_embedded_model():
    model = load_seal_model()
    record = json.loads((WEIGHTS / "house.json").read_text())
    assert model.name == "house"
    assert model.digest == record["digest"]
    assert model.id == f"house-{record['digest'][:12]}"
    assert model.rate == 16_000
    assert (WEIGHTS / "house.safetensors").stat().st_size < 2_600_000
    assert model.calibration is not None
    assert [row.duration_s for row in model.calibration.rows] == [2.0, 5.0, 10.0, 30.0]
    assert all(row.clips >= 30 for row in model.calibration.rows)


def test_of_the_weights_that_are_shipped_it_is_known_whether_they_scramble():
    model = load_seal_model()
    assert (model.digest in SCRAMBLING_WEIGHTS) == bool(model.chip_cells)


def test_the_record_says_how_the_weights_came_about():
    record = json.loads((WEIGHTS / "house.json").read_text())
    assert {"date", "command", "machine", "data", "seed", "steps"} <= set(record["training"])
    assert "measured" in record
    assert record["calibration"]["sources"]


def test_the_configuration_file_is_the_built_in_one():
    assert SealModelConfig.load(CONFIGS / "hub.yaml") == BUILTIN["hub"]


def _copy(tmp_path: Path) -> Path:
    for name in ("house.safetensors", "house.json"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    return tmp_path / "house.safetensors"


def test_damaged_weights_are_refused(tmp_path):
    path = _copy(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SealModelError, match="SHA-256"):
        load_seal_model(SealModelConfig("house", path=str(path)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something/2"}, "format"),
        ({"digest": "0" * 64}, "SHA-256"),
        ({"network": {"n_filters": 16, "ratios": [2, 4]}}, "do not fit"),
        ({"depth": {"depth": 1}}, "do not fit"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(tmp_path, change, message):
    path = _copy(tmp_path)
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(record | change))
    with pytest.raises(SealModelError, match=message):
        load_seal_model(SealModelConfig("house", path=str(path)))


def test_missing_weights_and_records(tmp_path):
    with pytest.raises(SealModelError, match="cannot be read"):
        load_seal_model(SealModelConfig("house", path=str(tmp_path / "none.safetensors")))
    path = _copy(tmp_path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(SealModelError, match="damaged record"):
        load_seal_model(SealModelConfig("house", path=str(path)))


def test_unknown_names_and_configurations(tmp_path):
    with pytest.raises(SealModelError, match="house, hub"):
        load_seal_model("other")
    bad = tmp_path / "bad.yaml"
    for text, message in [
        ("kind: other", "kind"),
        ("kind: hub\nspeed: 3", "speed"),
        ("[", "unreadable"),
    ]:
        bad.write_text(text)
        with pytest.raises(SealModelError, match=message):
            SealModelConfig.load(bad)


# -- the hub pair ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub_files(tmp_path_factory) -> SealModelConfig:
    """Checkpoints of the published layout: weight norm, old names, a configuration beside it."""
    import torch
    from omegaconf import OmegaConf

    from watermark.models.networks import audioseal

    builder, loader = audioseal("builder"), audioseal("loader")
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    names = {}
    for part, card, config, create in (
        ("generator", "audioseal_wm_16bits", builder.AudioSealWMConfig, builder.create_generator),
        (
            "detector",
            "audioseal_detector_16bits",
            builder.AudioSealDetectorConfig,
            builder.create_detector,
        ),
    ):
        data = OmegaConf.to_container(loader.load_local_model_config(card))
        network = create(loader.AudioSeal.parse_config(data, config_type=config))
        state = {}
        for key, value in network.state_dict().items():
            old = key.replace(".inner_conv", "")
            if ".inner_conv.weight" in key:
                norm = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.dim() - 1))
                state[old + "_g"], state[old + "_v"] = norm, value * 3.0  # any length will do
            else:
                state[old] = value
        names[part] = folder / f"{part}.pth"
        torch.save({"xp.cfg": OmegaConf.create(data), "model": state}, names[part])
        names[part + "_state"] = network.state_dict()
    config = SealModelConfig(
        "hub", generator=str(names["generator"]), detector=str(names["detector"])
    )
    hub_states[config] = names
    return config


hub_states: dict[SealModelConfig, dict] = {}


@pytest.mark.slow
def test_the_hub_layout_loads_with_its_weight_norm_folded(hub_files):
    import torch

    model = load_seal_model(hub_files)
    assert model.name == "hub"
    assert model.id == f"hub-{model.digest[:12]}"
    for ours, name in ((model._generator, "generator"), (model._detector, "detector")):
        for key, value in hub_states[hub_files][name + "_state"].items():
            torch.testing.assert_close(ours.state_dict()[key], value)


@pytest.mark.slow
def test_the_hub_pair_marks_and_reads_through_the_same_interface(hub_files):
    model = load_seal_model(hub_files)
    carrier = music(2.2, 22_050, 2)
    key, seal = SealKey(1, bytes(32)), SealId(bytes(8))
    sealed = embed(carrier, seal, key, model=model)
    assert sealed.samples.shape == carrier.samples.shape
    assert np.abs(sealed.samples - carrier.samples).max() > 0
    found = detect(sealed, model=model)
    assert found.model == model.id
    assert found.message_logits.shape == (2, 16)
    assert found.p_value is None  # nobody calibrated these weights
    assert found.false_positive_rate is None


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU would refuse: an operation on tensors of two devices."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = str(function)
        if "copy" not in name and "index" not in name:  # both may cross
            tensors = [each for each in tree_leaves((arguments, named)) if torch.is_tensor(each)]
            assert len({each.device for each in tensors if each.dim()}) <= 1, name
        return function(*arguments, **(named or {}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["house", "hub"])
def test_all_of_a_model_works_on_the_device_that_was_asked_for(kind, hub_files, monkeypatch):
    """Tensors without content stand for a GPU's, where there is none."""
    monkeypatch.setattr("watermark.models.loading._require", lambda _device: None)
    monkeypatch.setattr(
        torch.Tensor,
        "cpu",
        lambda tensor: torch.zeros(tensor.shape) if tensor.is_meta else tensor,
    )
    model = load_seal_model(kind if kind == "house" else hub_files, device="meta")
    x = music(2.2, 16_000).samples[0]
    cells = -(-len(x) // model.cell_samples)
    with OneDevice():
        pilot, bits = model.read(x)
        mark = model.mark(x, np.zeros((cells, 16), np.uint8), 1.0)
        assert bits.shape == (*pilot.shape, 16)
        assert mark.shape == x.shape
        model._detector.to_empty(device="cpu")
        with pytest.raises(AssertionError):
            model.read(x)


def test_a_gpu_that_is_not_there_is_told_by_the_machines_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SealModelError, match=f"{socket.gethostname()} has no GPU that PyTorch"):
        load_seal_model(device="cuda")


@pytest.mark.slow
def test_the_hub_generator_agrees_with_the_package(hub_files):
    """One message throughout: what the package's own forward gives."""
    import torch

    model = load_seal_model(hub_files)
    x = music(1.0, 16_000).samples[0]
    bits = np.array([0, 1] * 8, np.uint8)
    ours = model.mark(x, np.tile(bits, (50, 1)), 1.0)
    package = model._generator
    with torch.inference_mode():
        host = torch.from_numpy(x)[None, None]
        hidden = package.msg_processor(package.encoder.model(host), torch.from_numpy(bits)[None])
        theirs = package.decoder.model(hidden)[0, 0, : len(x)].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_pinned_digest_is_held(hub_files):
    pinned = SealModelConfig(
        "hub",
        generator=hub_files.generator,
        detector=hub_files.detector,
        generator_sha256="0" * 64,
    )
    with pytest.raises(SealModelError, match="SHA-256"):
        load_seal_model(pinned)


def test_hub_files_that_are_no_checkpoints(tmp_path, hub_files):
    import pickle

    import torch

    hostile = tmp_path / "hostile.pth"
    # a class that weights_only does not load
    hostile.write_bytes(pickle.dumps({"model": Path}, protocol=2))
    other = tmp_path / "other.pth"
    torch.save({"model": {"weight": torch.zeros(3)}}, other)
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"junk")
    for path in (hostile, other, junk):
        config = SealModelConfig("hub", generator=str(path), detector=hub_files.detector)
        with pytest.raises(SealModelError, match=r"pth|layout"):
            load_seal_model(config)


def test_an_unreachable_hub_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(SealModelError, match="embedded model"):
        load_seal_model("hub")


def test_random_models_are_reproducible():
    x = music(1.0, 16_000).samples[0]
    rows = np.zeros((13, 16), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, same, other = SealModel.random(1), SealModel.random(1), SealModel.random(2)
    np.testing.assert_array_equal(one.mark(x, rows, 1.0), same.mark(x, rows, 1.0))
    assert np.abs(one.mark(x, rows, 1.0) - other.mark(x, rows, 1.0)).max() > 0
