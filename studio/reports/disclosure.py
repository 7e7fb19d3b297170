"""The AI disclosure that platforms ask for: what AI made, what people did.

The shape follows DDEX's AI disclosures of September 2025 as distributors describe them: AI is
declared per part of the recording (vocals, instrumentation, composition, lyrics, post-production),
beside contributors with their roles as in an ERN 4.3 message (`Contributor`, `SequenceNumber`,
`Role/Value`). The message itself, its party identifiers and its value sets need a DDEX
implementation licence and the recipient's profile; ``docs/statements.md`` says what to map.

A machine cannot know what a person did afterwards. What people contributed is therefore a field of
the request, from a closed list; the choice of tags is always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studio.generation.validation import HUMAN_CONTRIBUTIONS

if TYPE_CHECKING:
    from studio.provenance.release import Release

__all__ = ["PARTS", "disclosure_of"]

PARTS = ("Vocals", "Instrumentation", "Composition", "Lyrics", "PostProduction")
"""Parts of a recording for which AI is declared."""

_MODEL = ("id", "title", "licence", "digest", "precision")

# The role a person's contribution would have among an ERN message's contributors.
_ROLES = {
    "direction": "Programmer",
    "selection": "Producer",
    "editing": "Editor",
    "composition": "Composer",
    "performance": "MusicalPerformer",
    "lyrics": "Lyricist",
    "mixing": "Mixer",
}


def disclosure_of(release: Release, holders: Mapping[str, str]) -> dict[str, Any]:
    """The disclosure of one output; ``holders`` gives rights holders' names by id.

    Every output of this studio is instrumental music composed and rendered by a model; nothing of
    it is sung or mixed by one. The seal is no production step: it is declared by itself.
    """
    human = tuple(dict.fromkeys(("direction", *release.request.human)))
    extent = {"Instrumentation": "All", "Composition": "All"}
    contributors: list[dict[str, Any]] = [
        {
            "PartyName": release.model["title"],
            "Role": {"Value": role},
            "IsArtificialIntelligence": True,
        }
        for role in ("Composer", "MusicalPerformer")
    ]
    contributors += [
        {
            "PartyName": None,  # the account's owner says under which name
            "Role": {"Value": _ROLES[part]},
            "IsArtificialIntelligence": False,
            "Contribution": part,
            "Meaning": HUMAN_CONTRIBUTIONS[part],
        }
        for part in human
    ]
    consent = [
        {
            "Tag": tag["tag"],
            "Grant": tag["grant"],
            "RightsHolder": holders.get(tag["holder"], tag["holder"]),
        }
        for tag in release.decision["tags"]
    ]
    return {
        "disclosure": "AI contribution per part and contributor, after DDEX (2025)",
        "version": 1,
        "SoundRecording": {
            "ProprietaryId": release.output_id,
            "DisplayTitleText": release.title,
            "Duration": _duration(release.duration_s),
            "IsInstrumental": True,
            "HasVocalPerformance": False,
            "CreationDate": release.created_at.date().isoformat(),
        },
        "AiContribution": [{"Part": part, "Extent": extent.get(part, "None")} for part in PARTS],
        "Contributor": [
            {"SequenceNumber": number, **contributor}
            for number, contributor in enumerate(contributors, start=1)
        ],
        "HumanContribution": list(human),
        "DigitalSourceType": "trainedAlgorithmicMedia",
        "Model": {key: release.model[key] for key in _MODEL if key in release.model},
        "StyleConsent": consent,
        "Parent": None if release.lineage is None else dict(release.lineage),
        "Proof": {
            "Seal": release.seal_id,
            "LedgerEntry": release.entry_index,
            "LeafHash": release.entry_hash,
            "FileSha256": release.sha256,
        },
    }


def _duration(seconds: float) -> str:
    """ISO 8601, as DDEX writes durations.

    >>> _duration(75.5)
    'PT0H1M15.5S'
    """
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"PT{hours}H{minutes}M{round(rest, 3):g}S"
