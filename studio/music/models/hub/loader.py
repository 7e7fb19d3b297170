"""Hub checkpoints: audiocraft's exports, from the Hugging Face hub or from a local directory.

An export is two pickles, ``state_dict.bin`` (language model) and ``compression_state_dict.bin``
(codec, or the name of one), each a dict of ``xp.cfg`` and ``best_state``
(audiocraft/utils/export.py). The text encoder is not in it: it is a repository of its own, or the
directory of its name beside the two files.

Pickles are read with `weights_only` and an allow-list of omegaconf's own types, memory-mapped, into
networks built without initial values. `audiocraft.models.loaders` does none of this, and asks the
network for T5 whatever is on disk.
"""

from __future__ import annotations

import collections
import hashlib
import os
import pickle
import socket
import sys
import typing
import urllib.parse
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import CheckpointError, HubUnreachableError
from studio.music.models.config import ModelConfig
from studio.music.models.hub.checkpoint import Checkpoint
from studio.music.models.integrity import check_digest, is_memory_error

if TYPE_CHECKING:
    from audiocraft.models.encodec import CompressionModel
    from audiocraft.models.lm import LMModel
    from omegaconf import DictConfig

__all__ = [
    "CODEC_FILE",
    "CODEC_PATTERNS",
    "ENCODER_PATTERNS",
    "LM_FILE",
    "from_hub",
    "load_hub_checkpoint",
    "repositories_of",
]

LM_FILE = "state_dict.bin"
CODEC_FILE = "compression_state_dict.bin"

ENCODER_PATTERNS = ("config.json", "model.safetensors", "spiece.model", "tokenizer*.json")
CODEC_PATTERNS = ("config.json", "model.safetensors", "preprocessor_config.json")


def load_hub_checkpoint(config: ModelConfig, *, offline: bool) -> Checkpoint:
    """Load a hub model on the CPU. Raises as
    :func:`studio.music.models.checkpoints.load_checkpoint`."""
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    source = _Source(config, offline=offline)
    files = {name: source.file(name) for name in (LM_FILE, CODEC_FILE)}
    sums = {name: _sha256(path) for name, path in files.items()}
    for name, digest in sums.items():
        check_digest(config, name, digest)
    lm_export = _read_export(files[LM_FILE])
    lm_cfg = _experiment(lm_export, files[LM_FILE])
    with _damage_reported(files[LM_FILE]):
        lm = _build_lm(lm_cfg, source)
        _fill(lm, lm_export["best_state"])
        lm.__dict__["cfg"] = lm_cfg  # MusicGen looks for it there
        max_duration_s = float(lm_cfg.dataset.segment_duration)
    codec_export = _read_export(files[CODEC_FILE])
    with _damage_reported(files[CODEC_FILE]):
        codec = _build_codec(codec_export, files[CODEC_FILE], source)
    _check_shape(config, codec, lm_cfg, max_duration_s)
    digest = hashlib.sha256("".join(sums[name] for name in sorted(sums)).encode()).hexdigest()
    return Checkpoint(codec, lm, digest, max_duration_s)


class _Source:
    """Where a model's files come from: a directory, or the hub and its local cache."""

    def __init__(self, config: ModelConfig, *, offline: bool) -> None:
        self.config = config
        self.offline = offline

    def file(self, name: str) -> Path:
        if self.config.path is not None:
            path = self.config.path / name
            if not path.is_file():
                raise CheckpointError(
                    f"model {self.config.id!r}: there is no {name} in {self.config.path}"
                )
            return path
        assert self.config.repo is not None  # ModelConfig requires one of the two
        from huggingface_hub import hf_hub_download

        return self._here_or_there(
            self.config.repo, partial(hf_hub_download, filename=name, revision=self.config.revision)
        )

    def directory(self, repo: str, patterns: tuple[str, ...]) -> Path:
        """A whole repository (text encoder, codec): beside the checkpoint, or from the hub."""
        if self.config.path is not None and (self.config.path / repo).is_dir():
            return self.config.path / repo
        from huggingface_hub import snapshot_download

        return self._here_or_there(repo, partial(snapshot_download, allow_patterns=[*patterns]))

    def _here_or_there(self, repo: str, get: Callable[..., str]) -> Path:
        """From the hub's cache on this machine; only what is not there is asked of the network."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        with suppress(LocalEntryNotFoundError):
            return Path(get(repo, local_files_only=True))
        if self.offline:
            raise HubUnreachableError(
                f"model {self.config.id!r}: {repo} is not on this machine and the hub is switched "
                f"off (HF_HUB_OFFLINE); {_WAY_OUT}"
            )
        return from_hub(self.config, repo, get)


_WAY_OUT = (
    "`studio models fetch` fetches it with the network on; or put its files in a directory and "
    "name that as `path` in the model's configuration (docs/models.md)"
)


def from_hub(config: ModelConfig, repo: str, get: Callable[..., str]) -> Path:
    """What ``get(repo, endpoint=...)`` fetches from the hub.

    Raises :class:`CheckpointError` where the hub has no such thing, and
    :class:`HubUnreachableError`.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    subject = f"model {config.id!r}: {repo}"
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    transport_errors: tuple[type[Exception], ...] = (
        HfHubHTTPError,
        OSError,
        *_transport_errors(),
    )
    try:
        _knock(endpoint)
        return Path(get(repo, endpoint=endpoint))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as exc:
        raise HubUnreachableError(
            f"{subject} is not on this machine and the hub cannot be reached; {_WAY_OUT}"
        ) from exc
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as exc:
        raise CheckpointError(
            f"{subject}: the hub has no such repository, revision or file "
            f"({type(exc).__name__}); check `repo` and `revision` in its configuration"
        ) from exc
    except transport_errors as exc:
        raise HubUnreachableError(
            f"{subject} is not on this machine and the hub cannot be reached ({exc}); {_WAY_OUT}"
        ) from exc


def repositories_of(lm_file: Path, codec_file: Path) -> tuple[list[str], list[str]]:
    """The repositories that an export names beside itself: text encoders, and codecs.

    Raises :class:`CheckpointError`.
    """
    from studio.music.models.hub.audiocraft_compat import load_audiocraft

    load_audiocraft()
    from audiocraft.utils.utils import dict_from_config

    cfg = _experiment(_read_export(lm_file), lm_file)
    with _damage_reported(lm_file):
        entries = dict_from_config(cfg.conditioners)
        rows = [entry for name, entry in entries.items() if name != "args"]
        encoders = [str(row["t5"]["name"]) for row in rows if row["model"] == "t5"]
    codec = _read_export(codec_file)
    return encoders, [str(codec["pretrained"])] if "pretrained" in codec else []


def _knock(endpoint: str) -> None:
    """Raise OSError at once where nobody answers: the hub's client tries for half a minute."""
    address = urllib.parse.urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    host = address.hostname or ""
    if address.scheme in proxies and not urllib.request.proxy_bypass(host):
        return  # the proxy answers for the hub
    port = address.port or (443 if address.scheme == "https" else 80)
    socket.create_connection((host, port), timeout=5).close()


def _transport_errors() -> tuple[type[Exception], ...]:
    """The error root of whichever HTTP client the installed huggingface_hub speaks through."""
    clients = (sys.modules.get(name) for name in ("httpx2", "httpx"))
    return tuple(client.HTTPError for client in clients if client is not None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_export(path: Path) -> Mapping[str, Any]:
    """Unpickle nothing but tensors, plain containers and omegaconf's nodes."""
    import torch

    with _damage_reported(path), torch.serialization.safe_globals(_allowed_types()):
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} is not an export of audiocraft's")
    return content


def _allowed_types() -> list[Any]:
    from omegaconf import DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata
    from omegaconf.nodes import AnyNode, BooleanNode, FloatNode, IntegerNode, StringNode

    nodes = [AnyNode, BooleanNode, FloatNode, IntegerNode, StringNode]
    plain = [collections.defaultdict, collections.OrderedDict, dict, list, int, typing.Any]
    return [DictConfig, ListConfig, ContainerMetadata, Metadata, *nodes, *plain]


def _experiment(export: Mapping[str, Any], path: Path) -> DictConfig:
    """The training configuration inside an export: YAML text, or an omegaconf object."""
    from omegaconf import DictConfig, OmegaConf

    with _damage_reported(path):
        cfg = OmegaConf.create(export["xp.cfg"])
        assert isinstance(cfg, DictConfig)
        OmegaConf.set_struct(cfg, False)
        cfg.device, cfg.dtype = "cpu", "float32"
        return cfg


def _build_lm(cfg: DictConfig, source: _Source) -> LMModel:
    """audiocraft's `builders.get_lm_model`, with conditioners that stay on this machine."""
    from audiocraft.models import builders
    from audiocraft.models.lm import LMModel
    from audiocraft.utils.utils import dict_from_config

    kwargs = dict_from_config(cfg.transformer_lm)
    kwargs.pop("q_modeling", None)  # deprecated; codebooks_pattern says it
    kwargs["checkpointing"] = "none"  # a training matter, and xformers' own
    kwargs.update(weight_init=None, depthwise_init=None, zero_bias_init=False)  # _without_init
    fuser = builders.get_condition_fuser(cfg)
    if fuser.fuse2cond["cross"]:
        kwargs["cross_attention"] = True
    guidance = cfg.classifier_free_guidance
    provider = _conditioners(cfg, source)
    with _without_init():
        return LMModel(
            pattern_provider=builders.get_codebooks_pattern_provider(
                kwargs["n_q"], cfg.codebooks_pattern
            ),
            condition_provider=provider,
            fuser=fuser,
            cfg_dropout=guidance.training_dropout,
            cfg_coef=guidance.inference_coef,
            attribute_dropout=dict_from_config(cfg.attribute_dropout),
            **kwargs,
        )


def _conditioners(cfg: DictConfig, source: _Source) -> Any:
    from audiocraft.modules.conditioners import ConditioningProvider
    from audiocraft.utils.utils import dict_from_config

    from studio.music.models.hub.conditioners import LocalT5Conditioner, SilentMelodyConditioner

    dim = int(cfg.transformer_lm.dim)
    conditioners: dict[str, Any] = {}
    for name, entry in dict_from_config(cfg.conditioners).items():
        if name == "args":  # options of training
            continue
        options = entry[entry["model"]]
        if entry["model"] == "t5":
            encoder = source.directory(options["name"], ENCODER_PATTERNS)
            with _damage_reported(encoder):
                conditioners[name] = LocalT5Conditioner(encoder, dim, finetune=options["finetune"])
        elif entry["model"] == "chroma_stem":
            conditioners[name] = SilentMelodyConditioner(
                dim,
                n_chroma=options["n_chroma"],
                window=2 ** options["radix2_exp"],
                samples=int(options["sample_rate"] * cfg.dataset.segment_duration),
                argmax=options.get("argmax", False),
            )
        else:
            raise CheckpointError(f"conditioner {name!r} ({entry['model']}) is not supported")
    return ConditioningProvider(conditioners, device="cpu")


def _build_codec(export: Mapping[str, Any], path: Path, source: _Source) -> CompressionModel:
    from audiocraft.models import builders
    from audiocraft.models.encodec import HFEncodecCompressionModel

    codec: CompressionModel
    if "pretrained" in export:  # the export names a codec instead of holding one
        import transformers

        repo = str(export["pretrained"])
        directory = source.directory(repo, CODEC_PATTERNS)
        encodec = transformers.EncodecModel.from_pretrained(directory, local_files_only=True)
        codec = HFEncodecCompressionModel(encodec)
    else:
        with _without_init():
            codec = builders.get_compression_model(_experiment(export, path))
        _fill(codec, export["best_state"])
    return codec.eval()


def _fill(module: Any, state: Mapping[str, Any]) -> None:
    """Load all values, strictly; the melody analyser's window belongs to what is left out."""
    state = {name: value for name, value in state.items() if ".self_wav.chroma." not in name}
    module.load_state_dict(state, strict=True)
    module.eval()


@contextmanager
def _without_init() -> Iterator[None]:
    """Build without drawing initial values: all of them are about to be overwritten."""
    from torch.overrides import TorchFunctionMode

    class SkipInit(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if getattr(func, "__name__", "") in ("uniform_", "normal_"):
                # Zero, not untouched memory: torch's trunc_normal_ draws until all are in range.
                tensor = args[0] if args else kwargs["tensor"]
                tensor.detach().zero_()
                return tensor
            return func(*args, **(kwargs or {}))

    with SkipInit(), warnings.catch_warnings():
        # audiocraft/modules/conv.py:24 uses the older of torch's two weight norms, as the
        # checkpoints' names require.
        warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
        yield


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """What a damaged or foreign file makes torch, pickle or audiocraft raise, as one error."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        AssertionError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        RuntimeError,
        SafetensorError,
    ) as exc:
        if is_memory_error(exc):
            raise
        reason = str(exc).strip().splitlines() or [type(exc).__name__]
        raise CheckpointError(
            f"{path.name} is damaged or not an export of audiocraft's ({reason[0][:200]}); "
            "fetch it again"
        ) from exc


def _check_shape(
    config: ModelConfig, codec: CompressionModel, lm_cfg: DictConfig, max_duration_s: float
) -> None:
    """Hold the checkpoint to what its configuration tells people about it."""
    stereo = lm_cfg.get("interleave_stereo_codebooks")
    channels = 2 if stereo is not None and stereo.get("use") else codec.channels
    found = (codec.sample_rate, channels, max_duration_s)
    if found != (config.rate, config.channels, config.max_duration_s):
        raise CheckpointError(
            f"model {config.id!r} has rate, channels and duration {found}, its configuration says "
            f"{(config.rate, config.channels, config.max_duration_s)}; correct the configuration"
        )
