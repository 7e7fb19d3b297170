"""No path generates without a decision: every module is read, and the door is tried."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from studio.consent import ConsentPolicy, ConsentRegistry, Decision, Grant, RightsHolder
from studio.consent.enforcement import generate_with_decision, require_permission
from studio.consent.types import TagDecision, Terms
from studio.core.errors import ConsentRefusedError
from studio.core.tags import Tag, TagId

ROOT = Path(__file__).parents[3]
STUDIO = ROOT / "studio"

CALLS = {
    ("consent/enforcement.py", "generate_with_decision"): "the model, after the decision",
}
ALLOWED_RECEIVERS = {
    "pipeline",  # it decides
    "Ed25519PrivateKey", "SigningKey", "cls",  # keys
}  # fmt: skip
BUTTONS = {
    (f"web/ui/create/{part}.py", "self") for part in ("form", "scope", "tab")
}  # of that name
INSIDE_THE_MODEL = ("music/",)
"""Below consent: what the model is made of, its measurement in training, and itself."""

MODEL_MAKERS = {"get_generator", "MusicGenerator"}
MAY_MAKE_MODELS = {
    "app/container.py": "hands models to the pipeline",
    "generation/pipeline.py": "a type only",
    "consent/enforcement.py": "a type only",
    "generation/limits/quota.py": "a type only",
    "generation/derived/renditions.py": "a type only",
    "generation/derived/scores.py": "a type only",
}


def modules() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(STUDIO).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(STUDIO.rglob("*.py"))
    ]


def generate_calls(name: str, tree: ast.AST) -> list[tuple[str, str, str]]:
    """(module, function, receiver) of every call of something's `generate`, or mention of it."""
    found = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute) and node.attr == "generate":
            found.append((name, function, ast.unparse(node.value)))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "attrgetter", "methodcaller")
            and any(isinstance(a, ast.Constant) and a.value == "generate" for a in node.args)
        ):
            found.append((name, function, "getattr"))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(tree, "")
    return found


def suspicious(name: str, tree: ast.AST) -> list[tuple[str, str, str]]:
    return [
        call
        for call in generate_calls(name, tree)
        if call[:2] not in CALLS
        and call[2] not in ALLOWED_RECEIVERS
        and (call[0], call[2]) not in BUTTONS
        and not name.startswith(INSIDE_THE_MODEL)
    ]


@pytest.mark.slow
def test_only_the_door_calls_a_model():
    assert [call for name, tree in modules() for call in suspicious(name, tree)] == []
    (door,) = [
        call for name, tree in modules() for call in generate_calls(name, tree)
        if call[0] == "consent/enforcement.py"
    ]  # fmt: skip
    assert door == ("consent/enforcement.py", "generate_with_decision", "generator")


@pytest.mark.parametrize(
    "line",
    [
        "def f(g):\n    return g.generate([])",
        "self._generator('house').generate(tags)",
        "make = studio_generator.generate",
        "getattr(model, 'generate')([])",
    ],
)
def test_the_reader_finds_a_way_round_the_door(line):
    assert suspicious("web/ui/create/tab.py", ast.parse(line))


@pytest.mark.slow
def test_models_are_made_in_one_place():
    for name, tree in modules():
        if name in MAY_MAKE_MODELS or name.startswith(INSIDE_THE_MODEL):
            continue
        mentions = {
            node.id if isinstance(node, ast.Name) else node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.alias)
        }
        assert not mentions & MODEL_MAKERS, f"{name} takes hold of a model"


@pytest.mark.slow
def test_decisions_are_made_by_the_policy_only():
    for name, tree in modules():
        made = [
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("Decision", "TagDecision")
        ]
        assert name == "consent/policy.py" or not made, f"{name} makes a {made}"
        marks = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value == "is_policys_own"
        ]
        assert name == "consent/policy.py" or not marks, f"{name} marks a decision as the policy's"


# -- the door at run time --------------------------------------------------------------------------

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TAGS = (Tag(TagId("mood/calm"), "calm"),)


class Model:
    def __init__(self) -> None:
        self.asked = 0

    def generate(self, tags, **options):
        self.asked += 1
        return options


def decision(tags=("mood/calm",), **changes) -> Decision:
    grant = Grant(
        id="g", holder="ada", tags={"mood/calm", "mood/dark"}, uses={"commercial"},
        territories={"WORLD"}, models={"*"}, valid_from=NOW, valid_until=None,
        on_revocation="keep", share="0", terms=Terms(sha256="0" * 64, url="t"),
    )  # fmt: skip
    policy = ConsentPolicy(
        ConsentRegistry([RightsHolder(id="ada", name="Ada", kind="artist")], [grant]),
        known_tags=["mood/calm", "mood/dark"],
        model_uses={"house": ["commercial", "experiment"], "hub": ["commercial"]},
    )
    asked = {"use": "commercial", "territory": "WORLD", "model": "house", "at": NOW}
    return policy.decide(list(tags), **(asked | changes))


def test_the_door_opens_for_the_policys_own_decision_on_these_very_tags():
    model = Model()
    assert generate_with_decision(decision(), model, TAGS, model="house", seed=7) == {"seed": 7}
    assert model.asked == 1


def by_hand() -> Decision:
    answer = TagDecision(
        tag="mood/calm", granted=True, grant=None, holder=None, reason=None, explanation=""
    )
    return Decision(use="commercial", territory="WORLD", model="house", at=NOW, tags=(answer,))


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        object(),
        True,
        by_hand(),
        replace(decision(), use="experiment"),
        decision(use="experiment"),
        decision(["mood/dark"]),
        decision(["mood/calm", "mood/dark"]),
        decision([]),
        decision(model="hub"),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_the_door_stays_shut_for_any_other(wrong):
    model = Model()
    with pytest.raises(ConsentRefusedError):
        generate_with_decision(wrong, model, TAGS, model="house")
    with pytest.raises(ConsentRefusedError):
        require_permission(wrong, TAGS, model="house")
    assert model.asked == 0
