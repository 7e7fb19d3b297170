"""The claims of a manifest as data; format: docs/content-credentials.md.

Everything here is a *created* assertion: the signer vouches for it, as against one it gathered.

>>> claim = Claim(output_id="00" * 8, seal_id="00" * 8, title="Calm jazz", made_at="2026-11-22",
...               model={"id": "house"}, request={"seed": 7}, consent=[], use="experiment",
...               territory="WORLD", training=TrainingTerms({}))
>>> [assertion["label"] for assertion in definition(claim, "wav", "org.example")["assertions"]][:2]
['c2pa.actions.v2', 'c2pa.soft-binding']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from studio.core.config import OutputFormat

__all__ = ["MEDIA_TYPES", "Claim", "Parent", "TrainingTerms", "definition", "soft_binding"]

MEDIA_TYPES: Mapping[OutputFormat, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
}

_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_PARENT = "parent"

# CAWG training and data mining assertion 1.1, section 3: every use of the output it knows.
_MINING = (
    "cawg.ai_generative_training",
    "cawg.ai_inference",
    "cawg.ai_training",
    "cawg.data_mining",
)
_TRAINING_USES = ("cawg.ai_generative_training", "cawg.ai_training", "cawg.data_mining")


@dataclass(frozen=True, slots=True)
class TrainingTerms:
    """May others train on the output? Grant id -> its terms' URL, or None where it says no.

    Only if *every* grant behind an output permits training is training "constrained" to the terms
    of those grants; nothing here ever says "allowed" without terms. The default is "notAllowed".
    """

    by_grant: Mapping[str, str | None]

    def entries(self) -> dict[str, dict[str, str]]:
        """The ``entries`` of a ``cawg.training-mining`` assertion."""
        entries = {name: {"use": "notAllowed"} for name in _MINING}
        if self.by_grant and all(self.by_grant.values()):
            terms = "; ".join(f"grant {grant}: {url}" for grant, url in self.by_grant.items())
            for name in _TRAINING_USES:
                entries[name] = {"use": "constrained", "constraint_info": terms}
        return entries


@dataclass(frozen=True, slots=True)
class Parent:
    """The output that was input to this one; ``content`` is None where its file is gone."""

    output_id: str
    title: str
    format: OutputFormat
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of one output."""

    output_id: str
    seal_id: str
    title: str
    made_at: str  # RFC 3339
    model: Mapping[str, Any]  # id, title, digest, licence, training_basis; precision
    request: Mapping[str, Any]  # tags, seed, guidance, duration
    consent: Sequence[Mapping[str, Any]]  # the grants relied on
    use: str
    territory: str
    training: TrainingTerms
    parent: Parent | None = None
    stem: str | None = None  # the file is this stem of the output; None: the output itself
    transcoded_from: str | None = None  # SHA-256 of the released file; None: not transcoded


def soft_binding(namespace: str) -> str:
    """Our algorithm's name: the seal of ``docs/message-format.md``, version 1."""
    return f"{namespace}.seal.1"


def definition(claim: Claim, format: OutputFormat, namespace: str) -> dict[str, Any]:
    """The manifest definition that c2pa-python's Builder takes."""
    agent = {"name": "Consented Music Studio", "version": version("consented-music-studio")}
    created: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": _SOURCE_TYPE,
        "softwareAgent": agent,
        "when": claim.made_at,
    }
    if claim.parent is not None and claim.parent.content is not None:
        created["parameters"] = {"ingredientIds": [_PARENT]}
    watermarked = {"action": "c2pa.watermarked", "softwareAgent": agent, "when": claim.made_at}
    actions = [created, watermarked]
    if claim.transcoded_from is not None:
        actions.append({"action": "c2pa.transcoded", "softwareAgent": agent, "when": claim.made_at})
    generation = {
        "output_id": claim.output_id,
        "model": dict(claim.model),
        **claim.request,
        "parent": None if claim.parent is None else claim.parent.output_id,
    }
    if claim.stem is not None:
        generation["stem"] = claim.stem
    if claim.transcoded_from is not None:
        generation["transcoded_from"] = claim.transcoded_from
    consent = {
        "use": claim.use,
        "territory": claim.territory,
        "grants": [dict(grant) for grant in claim.consent],
    }
    assertions = (
        ("c2pa.actions.v2", {"actions": actions, "allActionsIncluded": True}),
        (
            "c2pa.soft-binding",
            {
                "alg": soft_binding(namespace),
                "blocks": [{"scope": {}, "value": claim.seal_id}],
            },
        ),
        ("cawg.training-mining", {"entries": claim.training.entries()}),
        (f"{namespace}.consent", consent),
        (f"{namespace}.generation", generation),
    )
    return {
        "claim_generator_info": [agent],
        "title": claim.title,
        "format": MEDIA_TYPES[format],
        "assertions": [
            {"label": label, "data": data, "created": True} for label, data in assertions
        ],
    }


def ingredient(parent: Parent) -> dict[str, Any]:
    """The parent as an ingredient: input to the model that made the output, not its beginning."""
    return {
        "title": parent.title,
        "relationship": "inputTo",
        "instance_id": parent.output_id,
        "label": _PARENT,
    }
