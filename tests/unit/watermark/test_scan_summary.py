"""The page about a scan."""

from __future__ import annotations

from click.testing import CliRunner

from watermark.batch.summary import summary_page
from watermark.cli.main import main


def row(file, verdict="sealed", **more):
    return {"file": file, "verdict": verdict, "duration_s": 3600.0, **more}


def cells(page):
    return [part.partition("</td>")[0] for part in page.split("<td")[1:]]


def test_counts_places_and_reasons_are_those_of_the_rows():
    rows = [
        row("s3://b/one/1.wav"),
        row("s3://b/one/2.wav", "no seal"),
        row("s3://b/two/3.wav", "no seal"),
        *({"file": f"x/{n}.wav", "error": f"{n}.wav: no audio in it"} for n in range(3)),
        {"file": "y.wav", "error": "longer than 9 s", "kind": "AudioTooLongError"},
    ]
    page = summary_page(rows, title="Scan r.jsonl", examined=7, spent_s=60.0)
    text = [cell.partition(">")[2] for cell in cells(page)]
    assert "7 files, 3.0 hours" in page
    assert text[:3] == ["unreadable", "3", "0.00"]
    assert text[text.index("sealed") :][:3] == ["sealed", "1", "1.00"]
    assert text[text.index("s3://b/one") :][:3] == ["s3://b/one", "2", "1"], "findings first"
    assert text.index("s3://b/one") < text.index("x")
    assert text[text.index("no audio in it") :][:2] == ["no audio in it", "3"]
    assert text[-1] == "7"


def test_names_of_files_are_no_markup():
    page = summary_page(
        [row("<script>/a.wav"), {"file": "b", "error": "b: <i>"}],
        title="<b>",
        examined=0,
        spent_s=0,
    )
    assert "<script>" not in page
    assert "<i>" not in page
    assert "<b>" not in page


def test_many_reasons_are_told_together():
    rows = [{"file": f"{n}", "error": f"{n}: reason {n}"} for n in range(60)]
    page = summary_page(rows, title="t", examined=60, spent_s=1)
    assert "others" in page


def test_the_command_writes_the_page_and_refuses_another_kind(tmp_path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "no.wav").write_text("no audio")
    out, page = tmp_path / "r.jsonl", tmp_path / "music" / "page.html"
    run = CliRunner()
    arguments = ["scan", str(tmp_path / "music"), "--out", str(out), "--summary"]
    for _ in range(2):  # the page itself is no file of the catalogue
        assert run.invoke(main, [*arguments, str(page)]).exit_code == 3
        assert "1 files" in page.read_text()
    refused = run.invoke(main, [*arguments, str(tmp_path / "page.txt")])
    assert refused.exit_code == 2
    assert "--summary ends in .html" in refused.output
