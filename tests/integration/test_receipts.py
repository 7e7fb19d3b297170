"""The receipt says what the ledger says, on one page, safely, and its QR code leads to the desk."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

from studio.core.errors import ProofError, StudioError, UsageError
from studio.provenance.ledger.checkpoints.public_keys import read_keys
from studio.provenance.ledger.proof_bundle import check_bundle
from studio.reports.receipt.content import Consent, receipt_of
from studio.reports.receipt.html import render_html
from studio.reports.receipt.pdf import render_pdf
from tests.support.studios import PlainGenerator, as_owner, make_studio

TAGS = ["genre/jazz", "mood/calm"]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("receipts")
    with make_studio(folder, generator=PlainGenerator()) as studio:
        as_owner(studio).generation.create(
            as_owner(studio).generation.request(TAGS, duration_s=6.0, seed=1, format="wav")
        )
        yield studio


@pytest.fixture(scope="module")
def release(studio):
    return as_owner(studio).outputs.recent()[0]


@pytest.fixture(scope="module")
def receipt(studio, release):
    return receipt_of(
        release,
        studio.consent(),
        training_basis="Trained on a test.",
        url="https://desk.example/",
        proof=as_owner(studio).outputs.proof(release.output_id),
        printed_at=release.created_at,
    )


def test_the_page_says_what_the_ledger_says(studio, release):
    page = as_owner(studio).outputs.receipt(release.output_id).decode()
    for text in (
        release.title,
        release.seal_id,
        release.sha256,
        release.entry_hash,
        release.c2pa["label"],
        "House catalogue",
        "house-catalogue-2026",
        *TAGS,
        "proves nothing by itself",
        "not consent to training",
        studio.models()["house"].training_basis.strip()[:40],
    ):
        assert text in page, text


def test_the_page_carries_a_proof_that_holds_without_the_studio(studio, release):
    page = as_owner(studio).outputs.receipt(release.output_id).decode()
    found = re.search(r"data:application/json;base64,([A-Za-z0-9+/=]+)", page)
    bundle = base64.b64decode(found[1])
    keys = read_keys("\n".join(map(str, studio.checkpointer().verifiers)))
    assert check_bundle(bundle, keys).body["output_id"] == release.output_id
    spoiled = json.loads(bundle)
    spoiled["leaf"] = spoiled["leaf"].replace(release.sha256, "0" * 64)
    with pytest.raises(ProofError):
        check_bundle(json.dumps(spoiled).encode(), keys)


def test_nothing_on_the_page_is_fetched_and_nothing_can_break_out_of_it(receipt):
    hostile = '"><script>alert(1)</script>'
    page = render_html(
        replace(
            receipt,
            title=hostile,
            model=hostile,
            consents=(Consent(hostile, (hostile,), hostile, hostile, hostile, hostile, hostile),),
            url="https://desk.example/?a=" + hostile,
        )
    ).decode()
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:application/json)[^\"]*", page)
    assert "url(" not in page and "@import" not in page


def test_the_pdf_is_one_page_with_its_fonts_and_any_name(receipt):
    many = tuple(
        Consent(f"Þór Ķāłmán Ωμέγα {n}", ("genre/jazz",), f"grant-{n}", "terms", "0" * 64, "", "x")
        for n in range(8)
    )
    content = render_pdf(replace(receipt, consents=many))
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") == 1
    assert content.count(b"/FontFile2") >= 4
    assert content == render_pdf(replace(receipt, consents=many))  # the same page, the same bytes


def test_what_does_not_fit_one_page_is_said(receipt):
    with pytest.raises(StudioError, match="does not fit"):
        render_pdf(replace(receipt, consents=receipt.consents * 40))


@pytest.mark.needs("chromium")
def test_the_page_prints_on_one_sheet(studio, release, tmp_path):
    (tmp_path / "r.html").write_bytes(as_owner(studio).outputs.receipt(release.output_id))
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    subprocess.run(
        [
            "chromium",
            *arguments,
            f"--print-to-pdf={tmp_path / 'r.pdf'}",
            f"file://{tmp_path}/r.html",
        ],
        check=True,
        capture_output=True,
        timeout=900,
    )
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "r.pdf").read_bytes())) == 1


def test_an_unknown_output_or_format_is_wrong_usage(studio, release):
    with pytest.raises(UsageError):
        as_owner(studio).outputs.receipt("0" * 16)
    with pytest.raises(UsageError, match="html or pdf"):
        as_owner(studio).outputs.receipt(release.output_id, "docx")


def test_the_commands(studio, release, tmp_path, monkeypatch):
    from studio.cli.main import cli

    monkeypatch.setenv("STUDIO_HOME", str(studio.paths.home))
    monkeypatch.setenv("STUDIO_CONFIGS", str(studio.paths.configs))

    def call(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.stdout

    for name in ("r.html", "r.pdf"):
        call(
            "receipt", release.output_id, "--out", tmp_path / name, "--url", "https://desk.example"
        )
        assert (tmp_path / name).stat().st_size > 5000
    call("receipt", release.output_id, "--out", tmp_path / "r.txt", code=2)
    assert call("credentials", "root") == studio.credentials().trust.anchors_pem
    shown = json.loads(call("credentials", "show", release.path, "--json"))
    assert shown["state"] == "trusted"
    assert shown["claims"]["c2pa.soft-binding"]["blocks"][0]["value"] == release.seal_id
    call("credentials", "show", __file__, code=1)
    call("credentials", "show", tmp_path / "none.wav", code=3)
    call("credentials", "export", release.output_id, "--out", tmp_path / "x.c2pa")
    assert (tmp_path / "x.c2pa").read_bytes() in release.path.read_bytes()
