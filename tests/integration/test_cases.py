"""Cases by command line, REST and page; the signed report; who sees which."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest
from sqlalchemy import text as sql

from studio.app.gateway import Gateway
from studio.app.session import open_studio
from studio.core.errors import NotYoursError, ProofError, UnreadableProofError, UsageError
from studio.provenance.ledger.checkpoints.public_keys import read_keys, write_keys
from studio.reports.cases.archive import check_archive
from studio.web.api.app import create_api
from studio.web.cases.examining import CaseFiles
from studio.web.cases.pages import case_page_routes
from studio.web.http.download_tokens import DownloadTokens
from studio.web.jobs.queue import JobRunner
from tests.support.accounts import NAMES, PASSWORD, add_one_of_each, with_cheap_passwords
from tests.support.studios import PlainGenerator, as_owner, events, make_studio
from watermark.audio.waveform import read, write

HOST = "https://studio.example"


@pytest.fixture
def studio(tmp_path):
    with make_studio(tmp_path / "studio", generator=PlainGenerator()) as studio:
        as_owner(studio).generation.recover()
        yield studio


@pytest.fixture
def made(studio):
    generation = as_owner(studio).generation
    return generation.create(generation.request(["genre/jazz"], duration_s=10.0, seed=3))


@pytest.fixture
def part(made, tmp_path):
    write(tmp_path / "part.flac", read(made.path).slice(2.0, 8.0))
    return tmp_path / "part.flac"


@pytest.fixture
def case(studio, made, part):
    """A case with two files and two notes."""
    opened = as_owner(studio).cases.open("R-2026-17", "Is the <jazz> ours?")
    as_owner(studio).cases.examine(opened.case_id, made.path, name="made.wav")
    as_owner(studio).cases.examine(opened.case_id, part, name="<part>.flac")
    as_owner(studio).cases.note(opened.case_id, "The client & the radio.\nSecond line.")
    return as_owner(studio).cases.note(opened.case_id, "From the radio.", about=2)


def rezipped(archive: bytes, **changes: bytes | None) -> bytes:
    """The archive with files of it replaced, or left out."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    for name, content in changes.items():
        contents[name.replace("_", ".")] = content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in contents.items():
            if content is not None:
                target.writestr(name, content)
    return out.getvalue()


class TestCase:
    def test_it_is_reopened_as_it_was_and_goes_on(self, studio, case, part):
        with open_studio(studio.config, studio.paths) as again:
            assert again.cases.get(case.case_id) == case
            assert [each.case_id for each in again.cases.all()] == [case.case_id]
            longer = again.cases.note(case.case_id, "A year later.")
        assert longer.notes[:2] == case.notes
        assert longer.examinations == case.examinations

    def test_every_examination_names_digest_and_ledger_entry(self, studio, case):
        assert [each.verdict for each in case.examinations] == ["sealed", "excerpt"]
        for each in case.examinations:
            entry = studio.ledger().entry(each.recorded["entry"])
            assert (entry.kind, entry.body["sha256"]) == ("verification", each.sha256)
            assert entry.leaf_hash.hex() == each.recorded["leaf_hash"]
        assert "part" not in json.dumps([e.to_json() for e in studio.ledger().entries()])

    def test_what_cannot_be_is_refused(self, studio, case):
        for reference, title in (("", "x"), ("x", " \n "), ("x" * 121, "x"), ("a\x00b", "x")):
            with pytest.raises(UsageError):
                as_owner(studio).cases.open(reference, title)
        for text, about in (("", None), ("x", 3), ("x", 0), ("x" * 4001, None)):
            with pytest.raises(UsageError):
                as_owner(studio).cases.note(case.case_id, text, about=about)
        with pytest.raises(NotYoursError):
            as_owner(studio).cases.get("0" * 16)
        with pytest.raises(UsageError, match="zip"):
            as_owner(studio).cases.report(case.case_id, "docx")

    def test_deleting_it_leaves_the_verdicts_in_the_ledger(self, studio, case):
        before = events(studio)
        as_owner(studio).cases.delete(case.case_id)
        assert as_owner(studio).cases.all() == []
        assert events(studio) == before


class TestReport:
    def test_it_holds_everything_and_its_signature_is_checked_without_a_studio(self, studio, case):
        archive = as_owner(studio).cases.report(case.case_id, "zip")
        keys = read_keys(write_keys(studio.checkpointer().verifiers))
        checked = check_archive(archive, keys)
        assert (checked.case_id, checked.reference) == (case.case_id, "R-2026-17")
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            page = files.read("report.html").decode()
            body = json.loads(files.read("report.json"))
            assert files.read("report.pdf").startswith(b"%PDF")
        assert [each["report"]["verdict"] for each in body["examinations"]] == ["sealed", "excerpt"]
        tried = [each["report"]["tried"] for each in body["examinations"]]
        assert all(0 < each["wrong_name_bound"] < 1e-6 for each in tried)
        for text in (
            "R-2026-17",
            "&lt;part&gt;.flac",
            "The client &amp; the radio.",
            "Second line.",
            "What was tried",
            "Any name here wrong, all of that counted",
        ):
            assert text in page
        assert "<script" not in page
        assert "<jazz>" not in page
        for each in case.examinations:
            assert each.sha256 in page
            assert each.recorded["leaf_hash"] in page

    def test_a_changed_archive_does_not_hold(self, studio, case, tmp_path):
        archive, keys = (
            as_owner(studio).cases.report(case.case_id, "zip"),
            studio.checkpointer().verifiers,
        )
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            note, page = files.read("signed.txt").decode(), files.read("report.html")
        others = make_studio(tmp_path / "other").checkpointer().verifiers
        with pytest.raises(ProofError):
            check_archive(archive, others)
        with pytest.raises(ProofError, match=r"report\.html"):
            check_archive(rezipped(archive, report_html=page + b" "), keys)
        renamed = note.replace("R-2026-17", "R-2026-18").encode()
        with pytest.raises(ProofError):
            check_archive(rezipped(archive, signed_txt=renamed), keys)
        for other in (
            b"no zip",
            archive[:200],
            rezipped(archive, report_pdf=None),
            rezipped(archive, more_txt=b"x"),
            rezipped(archive, signed_txt=b"\xff"),
        ):
            with pytest.raises((UnreadableProofError, ProofError)):
                check_archive(other, keys)


class TestOverHttp:
    @pytest.fixture
    def client(self, studio, made):
        from starlette.testclient import TestClient

        with_cheap_passwords(studio)
        add_one_of_each(studio.accounts())
        with (
            JobRunner(running=1, waiting=2) as making,
            JobRunner(running=1, waiting=2) as checking,
        ):
            api = create_api(Gateway(studio), DownloadTokens(), making=making, checking=checking)
            files = CaseFiles(api.state.checks)
            api.include_router(case_page_routes(Gateway(studio), files))
            yield TestClient(api, base_url=HOST, follow_redirects=False)

    @pytest.fixture
    def tokens(self, client, studio):
        accounts = studio.accounts()
        return {
            str(role): {
                "Authorization": "Bearer "
                + accounts.sign_in(name, PASSWORD, address="192.0.2.1").token
            }
            for role, name in NAMES.items()
        }

    def test_each_account_sees_its_own_and_teams_see_all(self, client, tokens, part):
        body = {"reference": "R-1", "title": "An artist's own"}
        opened = client.post("/api/v1/cases", json=body, headers=tokens["artist"])
        assert opened.status_code == 201
        path = f"/api/v1/cases/{opened.json()['case_id']}"
        added = client.post(
            f"{path}/files?name=part.flac", content=part.read_bytes(), headers=tokens["artist"]
        )
        assert added.status_code == 201, added.text
        assert (added.json()["number"], added.json()["file"]) == (1, "part.flac")
        seen = {
            role: client.get(path, headers=headers).status_code for role, headers in tokens.items()
        }
        assert seen == {"artist": 200, "verifier": 200, "registrar": 403, "administrator": 200}
        by_verifier = client.post(
            "/api/v1/cases",
            json={"reference": "R-2", "title": "A team's"},
            headers=tokens["verifier"],
        ).json()
        theirs = f"/api/v1/cases/{by_verifier['case_id']}"
        assert client.get(theirs, headers=tokens["artist"]).status_code == 404
        assert client.get("/api/v1/cases", headers=tokens["artist"]).json() == [
            {key: opened.json()[key] for key in ("case_id", "reference", "title", "opened_at")}
            | {"examiner": "ada"}
        ]
        noted = client.post(f"{path}/notes", json={"text": "x"}, headers=tokens["verifier"])
        assert noted.json()["author"] == NAMES_OF["verifier"]
        assert client.delete(path, headers=tokens["verifier"]).status_code == 404
        report = client.get(f"{path}/report.zip", headers=tokens["artist"])
        assert report.headers["content-type"] == "application/zip"
        assert client.delete(path, headers=tokens["artist"]).status_code == 204
        assert client.get(path, headers=tokens["artist"]).status_code == 404

    def test_a_file_stands_beside_its_original_for_those_who_may(
        self, client, tokens, studio, part
    ):
        body = {"reference": "R-1", "title": "x"}
        opened = client.post("/api/v1/cases", json=body, headers=tokens["artist"]).json()
        rest, page = f"/api/v1/cases/{opened['case_id']}", f"/cases/{opened['case_id']}"
        added = client.post(f"{rest}/files", content=part.read_bytes(), headers=tokens["artist"])
        (found,) = added.json()["comparisons"]
        assert found["place"]["original_start_s"] == pytest.approx(2.0, abs=0.05)
        assert found["differs_db"] < 1.0
        names = ("suspect.png", "suspect.flac", "original.png", "difference.png", "original.flac")
        seen = {
            role: [
                client.get(f"{base}/files/1/parts/1/{name}", headers=tokens[role]).status_code
                for name in names
            ]
            for role in ("artist", "verifier", "administrator")
            for base in (rest, page)
        }
        assert seen == {
            "artist": [200, 200, 404, 404, 404],  # nobody's output, so not the artist's
            "verifier": [200, 200, 200, 200, 403],  # records, and no sound
            "administrator": [200] * 5,
        }
        for file in ("0/parts/1", "2/parts/1", "1/parts/2"):
            path = f"{page}/files/{file}/suspect.png"
            assert client.get(path, headers=tokens["artist"]).status_code == 404
        beside = client.get(f"{page}/files/1", headers=tokens["artist"]).text
        assert "another account" in beside
        assert "original.flac" not in beside
        assert (
            "original.flac" in client.get(f"{page}/files/1", headers=tokens["administrator"]).text
        )
        report = client.get(f"{rest}/report.html", headers=tokens["artist"]).text
        assert report.count("data:image/png") == 1
        whole = client.get(f"{rest}/report.html", headers=tokens["verifier"]).text
        assert whole.count("data:image/png") == 3
        with_pictures = client.get(f"{rest}/report.pdf", headers=tokens["verifier"]).content
        assert len(with_pictures) > len(
            client.get(f"{rest}/report.pdf", headers=tokens["artist"]).content
        )
        sound = f"{page}/files/1/parts/1/suspect.flac"
        whole = client.get(sound, headers=tokens["artist"]).content
        heard = client.get(sound, headers=tokens["artist"] | {"Range": "bytes=4-9"})
        assert (heard.status_code, heard.content) == (206, whole[4:10])
        beyond = client.get(sound, headers=tokens["artist"] | {"Range": f"bytes={len(whole)}-"})
        assert beyond.status_code == 416
        client.delete(rest, headers=tokens["artist"])
        with studio.database().reading() as connection:
            assert connection.scalar(sql("SELECT count(*) FROM case_file")) == 0

    def test_the_pages_do_the_same_without_scripts(self, client, tokens, part):
        headers = tokens["verifier"]
        form = {"reference": "R-3", "title": "By <hand>"}
        opened = client.post("/cases", data=form, headers=headers)
        assert opened.status_code == 303
        path = opened.headers["location"]
        added = client.post(
            f"{path}/files", files={"file": ("<song>.flac", part.read_bytes())}, headers=headers
        )
        assert added.status_code == 303, added.text
        note = {"text": "Heard & noted", "about": "1"}
        assert client.post(f"{path}/notes", data=note, headers=headers).status_code == 303
        page = client.get(path, headers=headers)
        for text in ("By &lt;hand&gt;", "&lt;song&gt;.flac", "excerpt", "Heard &amp; noted"):
            assert text in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for kind in re.findall(r"report\.(\w+)", page.text):
            assert client.get(f"{path}/report.{kind}", headers=headers).status_code == 200
        refused = client.post(f"{path}/notes", data={"text": " "}, headers=headers)
        assert refused.status_code == 422
        assert 'role="alert"' in refused.text
        assert client.get(path, headers=tokens["registrar"]).status_code == 404
        assert client.get("/cases").status_code == 401


NAMES_OF = {str(role): name for role, name in NAMES.items()}
