"""What generation models there are: one YAML file each in ``configs/models/``.

A configuration says where a checkpoint comes from, what its licence permits and what it was trained
on. Consent for a style tag is not consent for training, so the training basis is a field of its own
and is shown wherever a model can be chosen.

>>> from studio.core.paths import shipped_configs
>>> models = load_model_configs(shipped_configs() / "models")
>>> ["commercial" in models[name].licence_uses for name in ("house", "facebook/musicgen-small")]
[True, False]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as _model_validator

from studio.core.errors import CheckpointError, ConfigError
from studio.core.tags import TagId

__all__ = [
    "HOUSE_WEIGHTS",
    "OF_DECODING",
    "ModelConfig",
    "ModelInfo",
    "Precision",
    "Use",
    "UsedPrecision",
    "describe",
    "load_model_configs",
    "performs_scores",
]

Use = Literal["experiment", "noncommercial", "commercial"]

Precision = Literal["exact", "bf16", "int8", "auto"]
"""Of decoding: see :mod:`studio.music.models.decoding.precision`."""

UsedPrecision = Literal["exact", "bf16", "int8"]
"""What a model is decoded in, once that is settled."""

OF_DECODING: tuple[UsedPrecision, ...] = ("exact", "bf16", "int8")
"""All of them, the most exact first."""

HOUSE_WEIGHTS = Path(__file__).resolve().parent / "house" / "weights"
"""The embedded house checkpoint: where a house configuration without a `path` looks."""

LONGEST_S = 600.0
"""The longest piece that the composer writes, in seconds."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ModelConfig(BaseModel):
    """One file of ``configs/models/``. Durations in seconds, rates in Hz."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    kind: Literal["house", "hub"]
    title: str
    licence: str
    licence_uses: frozenset[Use] = Field(min_length=1)
    training_basis: str
    guidance: float = Field(ge=1)
    """Weight of the tags where a request does not say; 1 is none beyond the model's own."""
    temperature: float = Field(gt=0)
    top_k: int = Field(ge=0)
    """Draw from the likeliest so many tokens; 0 draws from all."""
    extend_keep: float = Field(gt=0, lt=1)
    """Beyond `max_duration_s`: the share of a window kept as context for the next one."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads while generating; None leaves torch's own number. Small models want one."""

    precision: Precision = "auto"
    """Hub models: what the language model is decoded in. A house model is decoded exactly."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Hub models: where the model runs."""

    path: Path | None = None
    """A local checkpoint directory, relative to the file; wins over `repo`."""
    repo: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Hub models: the repository the files come from."""
    revision: str | None = None
    """Hub models: a commit, branch or tag; a commit pins the files."""
    digests: dict[str, Sha256] = Field(default_factory=dict)
    """File name -> SHA-256 that the file must have."""
    # Hub models; a house checkpoint's card says these itself.
    rate: int | None = Field(default=None, ge=8000)
    channels: int | None = Field(default=None, ge=1, le=2)
    max_duration_s: float | None = Field(default=None, gt=0)
    download_mb: int | None = Field(default=None, gt=0)

    @_model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "hub":
            if not (self.rate and self.channels and self.max_duration_s):
                raise ValueError("a hub model needs rate, channels and max_duration_s")
            if self.path is None and self.repo is None:
                raise ValueError("a hub model needs a repo or a path")
        elif self.precision not in ("exact", "auto"):
            raise ValueError("a house model is decoded exactly; leave precision out")
        elif self.device != "cpu":
            raise ValueError("a house model runs on the CPU; leave device out")
        return self


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model is, for records and for people. Rate in Hz, duration in seconds.

    `digest` is the SHA-256 of the weights, or None where they have not been read yet; `tags` are
    the tag ids the model knows, or None when it is prompted with each tag's wording and so takes
    any.
    """

    id: str
    kind: Literal["house", "hub"]
    title: str
    licence: str
    licence_uses: frozenset[Use]
    training_basis: str
    digest: str | None
    rate: int
    channels: int
    max_duration_s: float
    tags: frozenset[TagId] | None
    precision: UsedPrecision | None = None
    """What a hub model is decoded in, once it is loaded; None for a house model."""

    @property
    def scored(self) -> bool:
        """Whether the model performs a composed score (stereo, in stems): the house model does."""
        return self.kind == "house"


def describe(
    config: ModelConfig, *, digest: str | None = None, precision: UsedPrecision | None = None
) -> ModelInfo:
    """The model's particulars without loading its weights.

    `digest` and `precision` are known to whoever has loaded them.

    Raises :class:`CheckpointError` for a house model whose card cannot be read.
    """
    rate, channels, max_duration_s = config.rate, config.channels, config.max_duration_s
    tags: frozenset[TagId] | None = None
    if config.kind == "house":
        card_path = (config.path or HOUSE_WEIGHTS) / "card.json"
        try:
            card = json.loads(card_path.read_text(encoding="utf-8"))
            shape = card["config"]
            if "lm" in shape:
                raise CheckpointError(
                    f"the weights of model {config.id!r} are of an earlier design, which this "
                    "studio no longer plays; restore the weights from the repository, or train by "
                    "docs/house-model.md"
                )
            rate = int(shape["codec"]["sample_rate"])
            channels = int(shape["codec"]["channels"])
            max_duration_s = LONGEST_S
            tags = frozenset(TagId(str(tag)) for tag in shape["performer"]["tags"])
            digest = digest or str(card["digest"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise CheckpointError(
                f"the card of model {config.id!r} cannot be read ({exc}); restore {card_path.name} "
                "from the repository, or train by docs/house-model.md"
            ) from exc
    assert rate and channels and max_duration_s  # ModelConfig requires them of hub models
    return ModelInfo(
        id=config.id,
        kind=config.kind,
        title=config.title,
        licence=config.licence,
        licence_uses=config.licence_uses,
        training_basis=config.training_basis,
        digest=digest,
        rate=rate,
        channels=channels,
        max_duration_s=max_duration_s,
        tags=tags,
        precision=precision,
    )


def performs_scores(config: ModelConfig) -> bool:
    """Whether the model performs a composed score: the house model does."""
    return config.kind == "house"


def load_model_configs(directory: Path) -> dict[str, ModelConfig]:
    """Every ``*.yaml`` of `directory` by model id, house models first.

    Raises :class:`ConfigError` naming the file and the field at fault.
    """
    import yaml

    if not directory.is_dir():
        raise ConfigError(f"there is no folder of model configurations at {directory}")
    models: dict[str, ModelConfig] = {}
    for file in sorted(directory.glob("*.yaml")):
        try:
            config = ModelConfig.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise ConfigError(f"cannot read {file}: {exc}") from exc
        except ValidationError as exc:
            faults = "; ".join(
                f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
                for error in exc.errors()
            )
            raise ConfigError(f"{file}: {faults}") from exc
        if config.id in models:
            raise ConfigError(f"{file}: model {config.id!r} is configured twice")
        if config.path is not None:
            config = config.model_copy(update={"path": (file.parent / config.path).resolve()})
        models[config.id] = config
    return dict(sorted(models.items(), key=lambda item: (item[1].kind != "house", item[0])))
