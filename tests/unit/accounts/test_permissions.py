"""Rights below the faces: every facade method has a rule; a role can do its own and no more."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from studio.accounts.permissions import (
    LOCAL_OWNER,
    OPEN_ATTRIBUTES,
    PERMISSIONS,
    UNGUARDED,
    Actor,
    Permission,
    Role,
)
from studio.app.container import Studio
from studio.core.errors import AccessDeniedError, NotYoursError, UsageError
from tests.support.accounts import add_one_of_each, with_cheap_passwords
from tests.unit.pretend import PretendStudio

ARTIST, VERIFIER, REGISTRAR, ADMINISTRATOR = (
    Role.ARTIST,
    Role.VERIFIER,
    Role.REGISTRAR,
    Role.ADMINISTRATOR,
)


@pytest.fixture
def studio(tmp_path: Path) -> PretendStudio:
    return with_cheap_passwords(PretendStudio(tmp_path / "home"))


@pytest.fixture
def actors(studio) -> dict[Role, Actor]:
    return add_one_of_each(studio.accounts())


@pytest.fixture
def ada(studio, actors):
    return studio.acting_as(actors[ARTIST])


def make(acting):
    return acting.generate(acting.request(["genre/jazz"], duration_s=2.0, seed=1))


def public_methods() -> set[str]:
    return {
        name
        for name, member in inspect.getmembers(Studio)
        if not name.startswith("_") and callable(member)
    }


def test_every_method_of_the_facade_has_a_rule_and_every_rule_a_method():
    assert public_methods() - UNGUARDED == set(PERMISSIONS)


def test_every_output_parameter_exists():
    for name, rule in PERMISSIONS.items():
        if rule.output is not None:
            assert rule.output in inspect.signature(getattr(Studio, name)).parameters, name


def test_whoever_has_an_output_or_a_quota_is_filled_in_and_not_asked():
    """A method with somebody's account in its signature calls it ``account``, by keyword only."""
    for name in PERMISSIONS:
        for parameter in inspect.signature(getattr(Studio, name)).parameters.values():
            if "account" in parameter.name or "owner" in parameter.name:
                assert parameter.name == "account", name
                assert parameter.kind is parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("name", sorted(PERMISSIONS))
def test_a_role_without_the_permission_does_not_reach_the_method(tmp_path, monkeypatch, role, name):
    """For every method and every role: what the table does not permit never runs."""
    studio = PretendStudio(tmp_path)
    reached = []
    signature = inspect.signature(getattr(Studio, name))

    def record(self, *args, **kwargs):
        reached.append(name)

    record.__signature__ = signature
    monkeypatch.setattr(Studio, name, record)
    monkeypatch.setattr(PretendStudio, name, record)
    if name != "accounts":
        monkeypatch.setattr(studio, "accounts", lambda: NobodyOwnsAnything())
    arguments = {
        parameter.name: "0" * 16
        for parameter in list(signature.parameters.values())[1:]
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    call = getattr(studio.acting_as(Actor("f" * 32, "somebody", role)), name)
    rule = PERMISSIONS[name]
    may = role.may(rule.anyone) if rule.output else role.may(rule.permission)
    if may:
        call(**arguments)
        assert reached == [name]
    else:
        with pytest.raises(AccessDeniedError):
            call(**arguments)
        assert reached == []


class NobodyOwnsAnything:
    def owner_of(self, output_id):
        return None


def test_the_roles_are_what_the_documentation_says():
    assert not ARTIST.permissions & {Permission.CONSENT, Permission.ADMINISTER, Permission.RECORDS}
    assert not VERIFIER.permissions & {Permission.GENERATE, Permission.CONSENT}
    assert not REGISTRAR.permissions & {Permission.GENERATE, Permission.VERIFY}
    assert ADMINISTRATOR.permissions == frozenset(Permission)
    text = (Path(__file__).parents[3] / "docs" / "accounts.md").read_text()
    for permission in Permission:
        (line,) = [row for row in text.splitlines() if row.startswith(f"| `{permission}` ")]
        ticks = [cell.strip() == "yes" for cell in line.split("|")[2:6]]
        assert ticks == [role.may(permission) for role in Role], permission


def test_a_method_without_a_rule_is_closed_to_everyone(studio, monkeypatch):
    monkeypatch.setattr(Studio, "brand_new", lambda self: "reached", raising=False)
    with pytest.raises(AccessDeniedError, match="not open to anybody"):
        studio.acting_as(LOCAL_OWNER).brand_new()


def test_private_parts_are_out_of_reach(ada):
    for name in ("_pipeline", "_studio_ledger", "__dict__x"):
        with pytest.raises(AttributeError):
            getattr(ada, name)
    assert ada.config is not None
    assert {"config", "paths"} == OPEN_ATTRIBUTES


def test_an_artist_has_her_own_outputs_and_no_others(studio, actors, ada):
    mine = make(ada)
    studio.accounts().add("bert", ARTIST, "quiet harbour lanterns", by=None)
    bert = studio.accounts().named("bert")
    other = studio.acting_as(Actor(bert.account_id, "bert", ARTIST))
    assert ada.audio_file(mine.output_id).read_bytes()
    assert [release.output_id for release in ada.outputs()] == [mine.output_id]
    assert other.outputs() == []
    for method in ("release", "audio_file", "proof"):
        with pytest.raises(NotYoursError) as others:
            getattr(other, method)(mine.output_id)
        with pytest.raises(NotYoursError) as missing:
            getattr(other, method)("0" * 16)
        assert str(others.value) == str(missing.value)


def test_what_was_made_before_there_were_accounts_is_the_administrators(studio, tmp_path):
    early = make(studio.acting_as(LOCAL_OWNER))
    actors = add_one_of_each(studio.accounts())
    with pytest.raises(NotYoursError):
        studio.acting_as(actors[ARTIST]).audio_file(early.output_id)
    assert studio.acting_as(actors[ADMINISTRATOR]).audio_file(early.output_id).exists()


@pytest.mark.parametrize("role", [VERIFIER, REGISTRAR])
def test_records_of_others_without_their_audio(studio, actors, ada, role):
    made = make(ada)
    assert studio.acting_as(actors[role]).release(made.output_id).title == made.title
    with pytest.raises(AccessDeniedError):
        studio.acting_as(actors[role]).audio_file(made.output_id)


def test_nobody_acts_in_anothers_name(studio, actors, ada):
    request = ada.request(["genre/jazz"], duration_s=2.0, seed=1)
    with pytest.raises(AccessDeniedError):
        ada.generate(request, account=actors[ADMINISTRATOR].account_id)
    with pytest.raises(AccessDeniedError):
        ada.outputs(account=None)
    assert studio.releases == {}


def test_the_owner_of_a_studio_without_accounts_may_do_everything(studio):
    acting = studio.acting_as(LOCAL_OWNER)
    made = make(acting)
    assert acting.audio_file(made.output_id).exists()
    with pytest.raises(UsageError):
        acting.release("0" * 16)


def test_a_real_pipeline_notes_the_owner_before_there_is_anything_to_own(tmp_path):
    from studio.core.errors import GenerationCancelledError
    from tests.support.studios import PlainGenerator, make_studio

    class StopsOnce(PlainGenerator):
        def generate(self, *args, **kwargs):
            if self.calls == 0:
                self.calls = 1
                raise GenerationCancelledError("cancelled; nothing was kept")
            return super().generate(*args, **kwargs)

    with make_studio(tmp_path, generator=StopsOnce()) as real:
        actors = add_one_of_each(with_cheap_passwords(real).accounts())
        ada = actors[ARTIST]
        acting = real.acting_as(ada)
        with pytest.raises(GenerationCancelledError):
            acting.generate(acting.request(["genre/jazz"], duration_s=3.0))
        (reserved,) = real.accounts().outputs_of(ada.account_id)
        assert acting.outputs() == [], "reserved, and nothing was released"
        made = acting.generate(acting.request(["genre/jazz"], duration_s=4.0, seed=3))
        assert real.accounts().owner_of(made.output_id) == ada.account_id
        assert made.output_id != reserved
        leaves = b"".join(entry.leaf for entry in real.ledger().entries(kind="release"))
        assert b'"ada"' not in leaves  # in quotes: a digest may hold these letters
