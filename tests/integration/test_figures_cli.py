"""vary, extend, lineage, statement, disclosure, names and usage as they are typed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import studio.app.container
from studio.cli.main import cli
from tests.integration.test_lineage import Continuing
from tests.support.studios import make_studio

GOLDEN = Path(__file__).parents[1] / "golden"
TODAY = ("--from", "2020-01-01", "--to", "2099-12-31")


@pytest.fixture
def run(tmp_path, monkeypatch):
    generator = Continuing()
    monkeypatch.setattr(
        studio.app.container,
        "open_container",
        lambda: make_studio(tmp_path / "studio", generator=generator),
    )

    def run(*args: object, code: int = 0):
        result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="studio")
        assert result.exit_code == code, result.output
        return result

    return run


def one(result) -> dict:
    return json.loads(result.stdout)


def test_from_a_piece_to_its_statement(run, tmp_path):
    out = tmp_path / "x.wav"
    made = one(run("generate", "--tags", "genre/jazz,mood/calm", "--seconds", 6, "--seed", 1,
                   "--use", "commercial", "--title", "Kiss of rain", "--human", "selection",
                   "--out", out, "--json"))  # fmt: skip
    assert made["title"] == "Kiss of rain"
    longer = one(run("extend", out, "--seconds", 4, "--json"))
    assert longer["lineage"]["parent"] == made["output_id"]
    assert longer["duration_s"] == 10
    other = one(run("vary", longer["output_id"], "--tags", "genre/waltz", "--seed", 3, "--json"))
    assert other["request"]["tags"] == ["genre/waltz"]

    family = one(run("lineage", longer["output_id"], "--json"))
    assert [step["output_id"] for step in family["forebears"]] == [made["output_id"]]
    assert [step["output_id"] for step in family["children"]] == [other["output_id"]]
    shown = run("lineage", longer["output_id"]).stdout
    assert f"from  {made['output_id']}" in shown

    rows = list(csv.DictReader(io.StringIO(run("statement", "--holder", "house", *TODAY).stdout)))
    assert [int(row["entry"]) for row in rows] == [m["entry"] for m in (made, longer, other)]
    body = one(run("statement", "--holder", "house", *TODAY, "--format", "json"))
    assert body["sums"]["outputs"] == 3
    page = tmp_path / "statement.html"
    run("statement", "--holder", "house", *TODAY, "--format", "html", "--out", page)
    assert "Statement for House catalogue" in page.read_text()
    everybody = run("statement", "--all", *TODAY).stdout.splitlines()
    assert json.loads(everybody[-1])["agree"] is True

    assert one(run("disclosure", made["output_id"]))["HumanContribution"] == [
        "direction",
        "selection",
    ]
    usage = one(run("usage", "--json"))
    assert usage["accounts"][0]["released"] == 3
    assert "3 released" in run("usage").stdout


def test_refusals_exit_with_one_and_wrong_usage_with_two(run, tmp_path):
    refused = run("generate", "--tags", "genre/jazz", "--seconds", 6, "--title", "T4yl0r Sw1ft",
                  code=1)  # fmt: skip
    assert "Taylor Swift" in refused.stderr
    assert "names" in refused.stderr
    assert "no output" in run("vary", "0123456789abcdef", code=1).stderr
    assert "neither" in run("vary", tmp_path / "nothing.wav", code=2).stderr
    assert "one --holder" in run("statement", *TODAY, code=2).stderr
    assert "no rights holder" in run("statement", "--holder", "nobody", *TODAY, code=2).stderr
    assert "no day" in run("usage", "--day", "monday", code=2).stderr
    assert (
        "human contribution"
        in run(
            "generate", "--tags", "genre/jazz", "--seconds", 6, "--human", "genius", code=2
        ).stderr
    )


def test_names_check_and_measure(run):
    told = run("names", "check", "Kiss of rain", "Qu33n", code=1).stdout
    assert told.splitlines() == ["+ Kiss of rain", "- Qu33n: Queen (disguise)"]
    assert one(run("names", "check", "Rain", "--json")) == {
        "text": "Rain", "allowed": True, "names": []
    }  # fmt: skip
    measured = one(run("names", "measure", GOLDEN / "names.tsv", "--json"))
    assert measured["refused"] == [230, 258]
    assert "wrong: should allow" in run("names", "measure", GOLDEN / "names.tsv").stdout
