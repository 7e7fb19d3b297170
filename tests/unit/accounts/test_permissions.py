"""Rights: every use case names its permission; a role reaches its own and no more."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from studio.accounts.permissions import LOCAL_OWNER, Actor, Permission, Role
from studio.app import use_cases
from studio.app.container import Container
from studio.app.gateway import Gateway
from studio.app.session import Session
from studio.app.use_cases.base import UseCases, requires, rule_of
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
    return Session(studio, actors[ARTIST])


def make(session):
    making = session.generation
    return making.create(making.request(["genre/jazz"], duration_s=2.0, seed=1))


# -- what a session has, found out by looking at it ------------------------------------------------


def groups(session: object) -> dict[str, UseCases]:
    return {name: part for name, part in vars(session).items() if isinstance(part, UseCases)}


def use_cases_of(group: object) -> Iterator[tuple[str, Callable[..., object]]]:
    """Every public method, guarded or not."""
    for name, member in inspect.getmembers(group):
        if not name.startswith("_") and callable(member):
            yield name, member


def holes(start: object, forbidden: type | tuple[type, ...]) -> list[str]:
    """Attribute paths from ``start`` to an object of a forbidden type, private names included."""
    found, seen, waiting = [], {id(start)}, [("", start)]
    while waiting:
        path, thing = waiting.pop()
        for name in dir(thing):
            if name.startswith("__") and name not in ("__self__", "__dict__", "__wrapped__"):
                continue
            try:
                value = inspect.getattr_static(thing, name)
                value = getattr(thing, name)
            except Exception:  # noqa: BLE001 - a property that fails leads nowhere
                continue
            values = [value]
            if isinstance(value, dict):
                values += value.values()
            elif isinstance(value, (list, tuple, set, frozenset)):
                values += value
            for each in values:
                if isinstance(each, forbidden):
                    found.append(f"{path}.{name}")
                elif id(each) not in seen and not isinstance(
                    each, (type, str, bytes, int, float, type(inspect))
                ):
                    seen.add(id(each))
                    if path.count(".") < 4:
                        waiting.append((f"{path}.{name}", each))
    return found


class ReachedError(Exception):
    """The use case has begun to work."""


class Part:
    """A part of the container that does what it is given, and counts as reached beyond that."""

    def __init__(self, **methods: Callable[..., object]) -> None:
        vars(self).update(methods)

    def __getattr__(self, name: str):
        raise ReachedError(name)


class Untouched:
    """Stands where a container does: what a refusal may touch, and nothing else."""

    def __init__(self) -> None:
        self.denials: list[str] = []

    def accounts(self):
        return Part(owner_of=lambda _output_id: None)

    def security_log(self):
        return Part(
            record=lambda _event, *, outcome, subject="", detail: self.denials.append(detail)
        )

    def __getattr__(self, name: str):
        raise ReachedError(name)


class Something(str):
    """Some value for any argument; whoever looks into it has begun to work."""

    __slots__ = ()

    def __getattr__(self, name: str):
        raise ReachedError(name)

    def __ge__(self, other: object):
        raise ReachedError(other)


def call(method: Callable[..., object]) -> None:
    """With some value for each argument that has to be given."""
    required = [
        parameter
        for parameter in list(inspect.signature(method).parameters.values())[1:]  # the container
        if parameter.default is parameter.empty
    ]
    value = Something("0" * 16)
    by_name = {p.name: value for p in required if p.kind is p.KEYWORD_ONLY}
    method(*(value for p in required if p.kind is not p.KEYWORD_ONLY), **by_name)


ALL = [
    (group, name, role)
    for group, part in groups(Session(Untouched(), LOCAL_OWNER)).items()
    for name, _ in use_cases_of(part)
    for role in Role
]


def unguarded(group: object) -> list[str]:
    """Public methods that any role reaches."""
    found = []
    for name, method in use_cases_of(group):
        try:
            rule_of(method)
        except AttributeError:
            found.append(name)
    return found


def test_there_are_use_cases_and_each_names_its_permission():
    assert len(ALL) > 200
    for group in groups(Session(Untouched(), LOCAL_OWNER)).values():
        assert unguarded(group) == []


def test_every_group_of_use_cases_is_part_of_a_session():
    """A class that stands in the package and in no session is not tried by these tests."""
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(use_cases.__path__):
        importlib.import_module(f"{use_cases.__name__}.{module.name}")
    tried = {type(group) for group in groups(Session(Untouched(), LOCAL_OWNER)).values()}
    defined = {
        group for group in UseCases.__subclasses__() if group.__module__.startswith("studio.")
    }
    assert defined == tried


@pytest.mark.parametrize(("group", "name", "role"), ALL)
def test_a_role_without_the_permission_does_not_reach_the_use_case(group, name, role):
    """For every use case and every role: what its rule does not permit never begins."""
    container = Untouched()
    method = getattr(getattr(Session(container, Actor("f" * 32, "somebody", role)), group), name)
    rule = rule_of(method)
    if role.may(rule.anyone or rule.permission):
        with pytest.raises(ReachedError):
            call(method)
        assert container.denials == []
    else:
        with pytest.raises(AccessDeniedError):
            call(method)
        (denied,) = container.denials
        assert denied.endswith(f".{name}")


class Forgetful(UseCases):
    """What these tests are there to find."""

    def __init__(self, container: Container, actor: Actor) -> None:
        super().__init__(container, actor)
        self._studio = container

    @requires(Permission.ADMINISTER)
    def guarded(self, studio: Container) -> None:
        studio.close()

    def forgotten(self) -> None:
        self._studio.close()


def test_a_method_without_a_permission_is_found():
    """The negative control of the two tests above."""
    assert unguarded(Forgetful(Untouched(), LOCAL_OWNER)) == ["forgotten"]
    with pytest.raises(ReachedError):  # anybody reaches it
        Forgetful(Untouched(), Actor("f" * 32, "somebody", ARTIST)).forgotten()


def test_no_attribute_leads_from_a_session_or_the_gateway_to_the_container(studio, ada):
    assert holes(ada, Container) == []
    assert holes(Gateway(studio), Container) == []


def test_a_hole_is_found_whatever_its_name(studio):
    """The negative control: the container behind a private name, a list, a bound method."""
    for hole in (
        SimpleNamespace(_studio=studio),
        SimpleNamespace(deep=SimpleNamespace(parts=[studio])),
        SimpleNamespace(sign_in=studio.accounts),
        Forgetful(studio, LOCAL_OWNER),
    ):
        assert holes(hole, Container)


def test_no_use_case_takes_somebody_elses_account():
    """Whose output, whose quota: the session's actor, and nothing that a caller says."""
    for group, part in groups(Session(Untouched(), LOCAL_OWNER)).items():
        if group == "security":
            continue  # whose events an administrator asks for
        for name, method in use_cases_of(part):
            for parameter in inspect.signature(method).parameters:
                assert "account" not in parameter and "owner" not in parameter, (group, name)


# -- what the roles may do -----------------------------------------------------------------------


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


def test_a_session_says_no_before_any_work_is_begun(studio, ada):
    ada.require(Permission.GENERATE)
    with pytest.raises(AccessDeniedError, match="role artist may not"):
        ada.require(Permission.CONSENT)
    (denied,) = studio.security_log().events(event="denied")
    assert (denied.name, denied.detail) == ("ada", "consent")


def test_an_artist_has_her_own_outputs_and_no_others(studio, actors, ada):
    mine = make(ada)
    studio.accounts().add("bert", ARTIST, "quiet harbour lanterns", by=None)
    bert = studio.accounts().named("bert")
    other = Session(studio, Actor(bert.account_id, "bert", ARTIST))
    assert ada.outputs.audio_file(mine.output_id).read_bytes()
    assert [release.output_id for release in ada.outputs.mine()] == [mine.output_id]
    assert other.outputs.mine() == []
    for look in (other.outputs.get, other.outputs.audio_file, other.outputs.proof):
        with pytest.raises(NotYoursError) as others:
            look(mine.output_id)
        with pytest.raises(NotYoursError) as missing:
            look("0" * 16)
        assert str(others.value) == str(missing.value)


def test_what_was_made_before_there_were_accounts_is_the_administrators(studio):
    early = make(Session(studio, LOCAL_OWNER))
    actors = add_one_of_each(studio.accounts())
    with pytest.raises(NotYoursError):
        Session(studio, actors[ARTIST]).outputs.audio_file(early.output_id)
    assert Session(studio, actors[ADMINISTRATOR]).outputs.audio_file(early.output_id).exists()


@pytest.mark.parametrize("role", [VERIFIER, REGISTRAR])
def test_records_of_others_without_their_audio(studio, actors, ada, role):
    made = make(ada)
    outputs = Session(studio, actors[role]).outputs
    assert outputs.get(made.output_id).title == made.title
    with pytest.raises(AccessDeniedError):
        outputs.audio_file(made.output_id)


def test_the_owner_of_a_studio_without_accounts_may_do_everything(studio):
    session = Session(studio, LOCAL_OWNER)
    made = make(session)
    assert session.outputs.audio_file(made.output_id).exists()
    with pytest.raises(UsageError):
        session.outputs.get("0" * 16)


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
        hers = Session(real, ada)
        making = hers.generation
        with pytest.raises(GenerationCancelledError):
            making.create(making.request(["genre/jazz"], duration_s=3.0))
        (reserved,) = real.accounts().outputs_of(ada.account_id)
        assert hers.outputs.mine() == [], "reserved, and nothing was released"
        made = making.create(making.request(["genre/jazz"], duration_s=4.0, seed=3))
        assert real.accounts().owner_of(made.output_id) == ada.account_id
        assert made.output_id != reserved
        leaves = b"".join(entry.leaf for entry in real.ledger().entries(kind="release"))
        assert b'"ada"' not in leaves  # in quotes: a digest may hold these letters
