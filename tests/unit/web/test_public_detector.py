"""The detector for anybody: what it tells, what it never tells, what it keeps, and its bounds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from studio.app.gateway import Gateway
from studio.web.api.app import create_api
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner, TooManyRequestsError
from studio.web.public.limits import SimilarQuestions, network_of
from studio.web.public.line import FullLineError, Line
from studio.web.public.routes import public_line, public_routes
from tests.support.accounts import PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_owner, events, make_studio, music
from watermark.audio.waveform import Waveform, read, write

HOST = "https://studio.example"
API = "/api/public/detect"

# What only the verification desk may say: numbers that an attack could follow, and our insides.
NEVER = re.compile(
    r"score|threshold|p_value|distance|chance|logit|fingerprint|seal|epoch|offset|verdict|"
    r"unsealed|transplant|foreign|not-detected|lineage|sha256|consent\b|recovered",
    re.IGNORECASE,
)


def configured(studio, **settings):
    detector = studio.config.public_detector.model_copy(
        update={
            "enabled": True,
            "requests_per_minute": 600,
            "provider": "Example <Records>",
            "contact": "mailto:wrong@studio.example",
            **settings,
        }
    )
    studio.config = studio.config.model_copy(update={"public_detector": detector})


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path / "studio", generator=PlainGenerator()) as studio:
        with_cheap_passwords(studio)
        add_one_of_each(studio.accounts())
        as_owner(studio).generation.recover()
        yield studio


@pytest.fixture
def clients(studio):
    """Makes an outsider at an address, of a detector with these settings."""
    from starlette.testclient import TestClient

    with (
        JobRunner(running=1, waiting=2) as making,
        JobRunner(running=1, waiting=2) as checking,
    ):
        runners = []

        def client(address="192.0.2.9", *, api=None, **settings):
            if api is None:
                if settings.pop("on", True):
                    configured(studio, **settings)
                api = create_api(
                    Gateway(studio), DownloadTokens(), making=making, checking=checking
                )
                runners.append(public_line(Gateway(studio)))
                api.include_router(public_routes(Gateway(studio), runners[-1]))
            made = TestClient(api, base_url=HOST, client=(address, 5000), follow_redirects=False)
            made.api = api
            return made

        yield client
        for runner in runners:
            runner.close()


@pytest.fixture
def made(studio):
    return as_owner(studio).generation.create(
        as_owner(studio).generation.request(["genre/jazz"], duration_s=10.0, seed=3)
    )


def sound(path: Path, waveform: Waveform) -> bytes:
    write(path, waveform)
    return path.read_bytes()


@pytest.fixture
def unrelated(tmp_path) -> bytes:
    return sound(tmp_path / "other.wav", music(99, 8.0))


class TestAnswers:
    def test_a_private_output_is_named_ours_and_nothing_more(self, clients, made):
        answer = clients().post(API, content=made.path.read_bytes())
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["grade"] == "ours"
        assert body["segments"] == [{"start_s": 0, "end_s": 10, "output": 0}]
        assert body["outputs"] == [{"public": False}]
        assert body["provenance"]["system"] == "Consented Music Studio"
        assert body["complaints"] == "mailto:wrong@studio.example"
        for secret in (made.output_id, made.title, made.sha256, *made.credits):
            assert secret not in answer.text

    def test_what_its_owner_published_is_told_until_it_is_private_again(
        self, clients, made, studio
    ):
        client = clients()
        as_owner(studio).outputs.publish(made.output_id)
        (output,) = client.post(API, content=made.path.read_bytes()).json()["outputs"]
        assert output["title"] == made.title
        assert output["credits"] == list(made.credits)
        assert output["output_id"] == made.output_id
        as_owner(studio).outputs.publish(made.output_id, public=False)
        body = client.post(API, content=made.path.read_bytes()).json()
        assert body["outputs"] == [{"public": False}]

    def test_an_excerpt_has_its_seconds_outwards_to_whole_ones(self, clients, made, tmp_path):
        before, ours = music(50, 6.3), read(made.path)
        mixed = np.concatenate([before.samples, ours.samples], axis=1)
        content = sound(tmp_path / "mixed.wav", Waveform(mixed, ours.rate))
        body = clients().post(API, content=content).json()
        assert body["grade"] == "ours"
        (segment,) = body["segments"]
        assert set(map(type, segment.values())) == {int}
        assert abs(segment["start_s"] - 6) <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("what", "grade", "reason"),
        [
            ("other", "nothing-found", None),
            ("text", "cannot-say", "unreadable"),
            ("short", "cannot-say", "too-short"),
            ("silent", "cannot-say", "too-quiet"),
            ("long", "cannot-say", "too-long"),
            ("unmarked", "cannot-say", "evidence"),
        ],
    )
    def test_everything_else_has_one_of_two_grades(
        self, clients, studio, made, tmp_path, what, grade, reason
    ):
        silence = Waveform(np.zeros((1, 16_000 * 5), np.float32), 16_000)
        contents = {
            "other": lambda: music(99, 8.0),
            "short": lambda: music(99, 2.0),
            "silent": lambda: silence,
            "long": lambda: music(98, 30.0),
            "unmarked": lambda: PlainGenerator().generate(
                (), duration_s=10.0, seed=3, progress=lambda *_: None, cancel=_never()
            ),
        }
        content = (
            b"no music at all" if what == "text" else sound(tmp_path / "it.wav", contents[what]())
        )
        answer = clients(max_duration_s=20.0).post(API, content=content)
        body = answer.json()
        assert (body["grade"], body["reason"]) == (grade, reason)
        assert body["segments"] == body["outputs"] == []
        assert body["provenance"] is None
        assert made.output_id not in answer.text


def _never():
    import threading

    return threading.Event()


class TestOutsider:
    """Somebody who asks again and again, and looks at everything that comes back."""

    @pytest.mark.slow
    def test_many_questions_leave_nothing_behind_and_give_nothing_away(
        self, clients, studio, made, tmp_path, unrelated
    ):
        client = clients(near_identical_per_hour=100)
        ours = made.path.read_bytes()
        noisy = read(made.path)
        loud = np.random.default_rng(1).standard_normal(noisy.samples.shape).astype(np.float32)
        contents = [
            ours,
            unrelated,
            b"no music",
            sound(tmp_path / "noisy.wav", Waveform(noisy.samples + 0.3 * loud, noisy.rate)),
            sound(tmp_path / "part.wav", noisy.slice(2.0, 7.0)),
        ]
        kinds = events(studio)
        files = {path for path in studio.paths.home.rglob("*") if path.is_file()}
        answers = []
        for turn in range(15):
            content = contents[turn % len(contents)]
            if turn % 2:
                answers.append(client.post(API, content=content))
            else:
                answers.append(client.post("/detect", files={"file": ("mine.wav", content)}))
        for answer in answers:
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers
            assert "mine.wav" not in answer.text
            assert made.output_id not in answer.text
            if answer.headers["content-type"] == "application/json":
                assert not NEVER.search(answer.text), answer.text
                assert not re.search(r"\d\.\d", _without_version(answer)), "no number is soft"
        assert events(studio) == kinds, "no ledger entry"
        left = {path for path in studio.paths.home.rglob("*") if path.is_file()} - files
        assert {path.parent for path in left} <= {studio.paths.fingerprints}
        assert not any((studio.paths.uploads).rglob("*.*"))
        assert list(studio.paths.uploads.iterdir()) == []
        for name in studio.paths.home.rglob("*"):
            if name.is_file():
                assert unrelated[2000:2200] not in name.read_bytes()

    def test_every_other_door_stays_shut(self, clients, made):
        client = clients()
        for path in (
            f"/outputs/{made.output_id}",
            f"/api/v1/outputs/{made.output_id}",
            "/api/v1/tags",
            "/examinations/report.json",
            "/api/public/detections",
            "/detect/other",
            "/metrics",
        ):
            assert client.get(path).status_code == 401, path

    def test_it_is_off_unless_it_is_switched_on(self, clients, made):
        client = clients(on=False)
        assert client.get("/detect").status_code == 401
        assert client.post(API, content=b"x").status_code == 401
        assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"

    def test_off_is_404_for_those_who_are_signed_in(self, clients, studio):
        client = clients(on=False)
        session = studio.accounts().sign_in("vera", PASSWORD, address="192.0.2.1", kind="token")
        headers = {"Authorization": f"Bearer {session.token}"}
        assert client.get("/detect", headers=headers).status_code == 404
        assert client.post(API, content=b"x", headers=headers).status_code == 404

    @pytest.mark.slow
    def test_another_sites_page_cannot_ask_for_its_visitors(self, clients, unrelated):
        answer = clients().post(API, content=unrelated, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in clients().get("/detect").headers

    def test_robots_may_list_the_form_alone(self, clients, unrelated):
        client = clients()
        assert client.get("/robots.txt").text == ("User-agent: *\nAllow: /detect$\nDisallow: /\n")
        assert "x-robots-tag" not in client.get("/detect").headers
        answered = client.post("/detect", files={"file": ("a.wav", unrelated)})
        assert answered.headers["x-robots-tag"] == "noindex"


def _without_version(answer) -> str:
    body = json.loads(answer.text)
    if body["provenance"] is not None:
        del body["provenance"]
    return json.dumps(body)


class TestPage:
    def test_it_has_no_script_and_lets_none_run(self, clients, made, studio):
        client = clients()
        pages = [
            client.get("/detect"),
            client.post("/detect", files={"file": ("a.wav", made.path.read_bytes())}),
            client.post("/detect", files={"file": ("", b"")}),
        ]
        assert [page.status_code for page in pages] == [200, 200, 422]
        for page in pages:
            assert "<script" not in page.text
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert "Example &lt;Records&gt;" in page.text
            assert "mailto:wrong@studio.example" in page.text
        assert 'data-grade="ours"' in pages[1].text
        assert "choose one first" in pages[2].text

    def test_a_title_is_text_and_no_markup(self, clients, studio):
        made = as_owner(studio).generation.create(
            as_owner(studio).generation.request(
                ["genre/jazz"], duration_s=10.0, seed=3, title="<i>Blue & green"
            )
        )
        as_owner(studio).outputs.publish(made.output_id)
        page = clients().post("/detect", files={"file": ("a.wav", made.path.read_bytes())})
        assert "&lt;i&gt;Blue &amp; green" in page.text


class TestBounds:
    def test_one_address_is_slowed_down_and_another_is_not(self, clients, unrelated):
        client = clients(requests_per_minute=3)
        answers = [client.post(API, content=b"x") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        other = clients("192.0.2.77", api=client.api)
        assert other.post(API, content=unrelated).json()["grade"] == "nothing-found"

    @pytest.mark.slow
    def test_nearly_the_same_sound_is_counted_together_from_any_address(
        self, clients, made, tmp_path, unrelated
    ):
        client = clients(near_identical_per_hour=4)
        whole = read(made.path)
        random = np.random.default_rng(5)

        def attacked(number: int) -> bytes:
            noise = random.standard_normal(whole.samples.shape).astype(np.float32)
            return sound(
                tmp_path / f"{number}.wav", Waveform(whole.samples + 0.002 * noise, whole.rate)
            )

        answers = [
            clients(f"198.51.100.{number}", api=client.api).post(API, content=attacked(number))
            for number in range(6)
        ]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 3000
        page = client.post("/detect", files={"file": ("a.wav", attacked(9))})
        assert page.status_code == 429
        assert "minutes" in page.text
        assert client.post(API, content=unrelated).status_code == 200

    def test_a_full_line_is_told_when_to_come_back(self, clients, unrelated, monkeypatch):
        client = clients(waiting=0)

        def full(self, address):
            raise FullLineError("the detector is busy", 7.2)

        monkeypatch.setattr(Line, "place", full)
        answer = client.post(API, content=unrelated)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "8")
        assert answer.json()["error"]["code"] == "busy"
        page = client.post("/detect", files={"file": ("a.wav", unrelated)})
        assert (page.status_code, page.headers["retry-after"]) == (503, "8")
        assert "8 seconds" in page.text

    def test_a_place_is_free_again_after_every_end(self):
        line = Line(places=2, per_address=1)
        with line.place("a"), line.place("b"), pytest.raises(FullLineError) as told:
            line.place("c").__enter__()
        assert told.value.retry_after_s >= 1
        with pytest.raises(RuntimeError), line.place("a"):
            raise RuntimeError
        assert line.length == 0
        with line.place("a"), pytest.raises(TooManyRequestsError):
            line.place("a").__enter__()

    def test_a_body_that_is_too_long_is_refused(self, clients):
        client = clients(max_bytes=1 << 20)
        answer = client.post(API, content=b"0" * (3 << 20))
        assert answer.status_code == 413

    def test_a_file_that_never_ends_coming_is_given_up(self, clients):
        import anyio

        from tests.support.asgi import exchange

        client = clients(upload_s=0.2)

        async def dripping():
            for _ in range(40):
                await anyio.sleep(0.1)
                yield b"0"

        told = anyio.run(exchange, client.api, "POST", API, dripping())
        assert told.status == 422
        assert b"not here within" in told.body


class TestSimilarQuestions:
    def test_the_same_sound_is_free_again_after_an_hour(self):
        now = [0.0]
        words = np.random.default_rng(2).integers(1, 2**32, 500, dtype=np.uint32)
        questions = SimilarQuestions(1, clock=lambda: now[0])
        assert questions.ask(words) == 0
        now[0] = 600.0
        assert questions.ask(words) == 3000.0
        now[0] = 3601.0
        assert questions.ask(words) == 0

    def test_other_sound_and_silence_are_never_counted_together(self):
        random = np.random.default_rng(3)
        questions = SimilarQuestions(1, clock=lambda: 0.0)
        for _ in range(20):
            assert questions.ask(random.integers(1, 2**32, 26_000, dtype=np.uint32)) == 0
        assert [questions.ask(np.zeros(100, np.uint32)) for _ in range(3)] == [0, 0, 0]

    def test_an_ipv6_network_is_one_asker(self):
        assert network_of("2001:db8::1") == network_of("2001:db8::2:3")
        assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
        assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
