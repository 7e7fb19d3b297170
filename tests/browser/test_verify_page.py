"""The list of examined files in a browser: drops that add to it, reloads that keep it."""

from __future__ import annotations

import csv
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.browser.conftest import _command, _environment
from tests.browser.test_page import keep
from watermark.audio.waveform import read, write

pytestmark = pytest.mark.needs("chromium")

DROP = """
([name, base64, where]) => {
    const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: "audio/flac" }));
    const target = document.querySelector(where);
    const over = new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true });
    target.dispatchEvent(over);
    const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    target.dispatchEvent(event);
    return [over.defaultPrevented, event.defaultPrevented];
}
"""


@pytest.fixture(scope="module")
def music(served, tmp_path_factory) -> Path:
    """An output of the served studio, made beside it by a command."""
    path = tmp_path_factory.mktemp("music") / "made.wav"
    arguments = ["generate", "--tags", "genre/jazz,mood/calm", "--seconds", "10", "--seed", "11"]
    subprocess.run(
        _command(*arguments, "--out", str(path)),
        env=_environment(served.home.parent),
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def page(visit):
    """The Verify tab with an empty list."""
    page = visit.page
    page.get_by_role("tab", name="Verify").click()
    clear = page.get_by_role("button", name="Clear the list")
    page.locator("#board .tally").wait_for(state="attached")
    if page.locator("details.answer").count():
        clear.click()
    page.get_by_text("No file yet").wait_for()
    return page


def add(page, *paths: Path) -> None:
    page.locator("#drop input[type=file]").set_input_files(list(paths))


def answers(page, count: int) -> dict[str, str]:
    """Wait for so many answers; verdicts by file name."""
    page.wait_for_function(
        "count => document.querySelectorAll('details.answer[data-answer]').length == count",
        arg=count,
        timeout=120_000,
    )
    pairs = page.locator("details.answer").evaluate_all(
        "all => all.map(each => [each.querySelector('b').textContent, each.dataset.answer])"
    )
    return dict(pairs)


def line(page, name: str):
    return page.locator("details.answer", has=page.get_by_text(name, exact=True))


def test_a_second_drop_leaves_the_first_verdict_and_records_no_other(page, music, tmp_path):
    sound = read(music)
    write(tmp_path / "part.flac", sound.slice(2.0, 8.5))
    write(tmp_path / "shared.mp3", sound)
    add(page, tmp_path / "part.flac")
    assert answers(page, 1) == {"part.flac": "excerpt"}
    asked = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    add(page, tmp_path / "shared.mp3")
    assert answers(page, 2) == {"part.flac": "excerpt", "shared.mp3": "sealed"}
    handed = [body for body in asked if "gradio.FileData" in body]
    assert len(handed) == 1
    assert "shared.mp3" in handed[0]
    assert "part.flac" not in handed[0], "only what is new is handed over"


def test_an_opened_answer_stays_open_while_others_are_examined(page, music, tmp_path):
    add(page, music)
    answers(page, 1)
    opened = line(page, "made.wav")
    opened.locator("[data-verdict]").wait_for()
    page.evaluate(
        "() => { window.closed = 0; document.querySelector('details.answer')"
        ".addEventListener('toggle', () => window.closed++) }"
    )
    for number in range(2):
        (tmp_path / f"{number}.wav").write_text("no music")
    write(tmp_path / "part.flac", read(music).slice(1.0, 9.0))
    add(page, *(tmp_path / name for name in ("0.wav", "part.flac", "1.wav")))
    assert len(answers(page, 4)) == 4
    assert opened.evaluate("each => each.open")
    assert page.evaluate("window.closed") == 0
    assert opened.locator("[data-verdict]").is_visible()


def test_a_file_is_taken_wherever_it_is_dropped_and_the_browser_stays(visit, page, music):
    import base64

    data = base64.b64encode(music.read_bytes()).decode()
    address = page.url
    page.get_by_role("tab", name="Models and limits").click()
    prevented = page.evaluate(DROP, ["anywhere.wav", data, ".masthead"])
    assert prevented == [True, True]
    assert answers(page, 1) == {"anywhere.wav": "sealed"}
    assert page.get_by_role("tab", name="Verify").get_attribute("aria-selected") == "true"
    page.evaluate(DROP, ["beside the list.wav", data, "#board"])
    assert len(answers(page, 2)) == 2
    assert page.url == address
    box = page.locator(".drop-label").bounding_box()
    assert box["height"] >= 120, "the drop target keeps its size after the first file"


def test_a_verdict_survives_a_reload_and_stands_in_the_ledger(page, served, music):
    add(page, music)
    answers(page, 1)
    examined = page.get_by_role("region", name="What was examined")
    examined.wait_for()
    before = examined.inner_text()
    assert "entry no." in before
    page.reload()
    page.get_by_role("tab", name="Verify").click()
    assert answers(page, 1) == {"made.wav": "sealed"}
    page.locator("details.answer").first.evaluate("each => { each.open = true }")
    examined.wait_for()
    assert examined.inner_text() == before


def test_26_files_are_all_examined_and_counted_sorted_filtered_and_exported(
    page, music, tmp_path, artifacts
):
    names = [f"{number:02}.wav" for number in range(24)]
    for name in names:
        (tmp_path / name).write_text("no music")
    write(tmp_path / "a part.flac", read(music).slice(1.0, 9.0))
    add(page, *(tmp_path / name for name in names), music, tmp_path / "a part.flac")
    found = answers(page, 26)
    assert sorted(found.values()) == ["excerpt", "sealed", *["unreadable"] * 24]
    assert "26 files: 24 unreadable, 1 sealed, 1 excerpt" in page.locator(".tally").inner_text()
    page.get_by_label("Sort by").select_option("verdict")
    first = page.locator("details.answer").first
    assert "made.wav" in first.inner_text()
    page.get_by_label("Show").select_option("unreadable")
    assert page.locator("details.answer:visible").count() == 24
    page.get_by_label("Show").select_option("")
    page.get_by_label("Find").fill("a part")
    assert page.locator("details.answer:visible").count() == 1
    page.get_by_label("Find").fill("")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download table (CSV)").click()
    table = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert {row["file"]: row["verdict"] for row in table} == found
    assert all(row["verification_entry"] for row in table)
    line(page, "a part.flac").locator("summary").click()
    line(page, "a part.flac").get_by_text("Which seconds are what").wait_for()
    keep(page, artifacts / "page-verify-many.png")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = page.locator(".table-scroll").evaluate_all(
        "all => all.filter(each => each.offsetParent"
        " && each.scrollWidth > each.clientWidth + 1).length"
    )
    assert cut == 0, "on a phone no table is cut"
    keep(page, artifacts / "page-verify-phone.png")


def test_a_file_too_large_is_told_at_once_and_the_others_are_examined(page, music):
    page.evaluate("document.querySelector('[data-max-bytes]').dataset.maxBytes = 200000")
    small = music.parent / "small.wav"
    small.write_text("no music")
    add(page, music, small)
    page.get_by_text("“studio verify” on the command line takes more").wait_for()
    assert answers(page, 1) == {"small.wav": "unreadable"}


# -- side by side ----------------------------------------------------------------------------------

WATCH = """
figure => {
    window.heard = [];
    const sounds = [...figure.querySelectorAll("audio")];
    new MutationObserver(() => window.heard.push({
        side: figure.dataset.now,
        at: Number(figure.dataset.at),
        sounding: sounds.filter(each => !each.paused).map(each => each.dataset.side),
    })).observe(figure, { attributes: true });
}
"""


@pytest.fixture
def beside(page, music, tmp_path):
    """The comparison of seconds 1 to 9 of an output, in an answer that is open."""
    ours = read(music)
    write(tmp_path / "ours part.flac", ours.slice(1.0, 9.0))
    add(page, tmp_path / "ours part.flac")
    assert answers(page, 1) == {"ours part.flac": "excerpt"}
    line(page, "ours part.flac").evaluate("each => { each.open = true }")
    figure = page.locator("figure.compare")
    figure.wait_for()
    figure.evaluate(WATCH)
    return figure


def heard(page) -> list[dict]:
    return page.evaluate("() => window.heard")


def until_at(page, seconds: float, side: str) -> None:
    page.wait_for_function(
        "([at, side]) => window.heard.some(each => each.side === side && each.at >= at"
        " && each.sounding.includes(side))",
        arg=[seconds, side],
        timeout=120_000,
    )


def test_file_and_original_are_heard_in_turns_at_the_same_place(page, beside):
    beside.get_by_label("Change every 2 seconds").check()
    beside.get_by_role("button", name="Play").click()
    until_at(page, 0.2, "suspect")
    until_at(page, 2.2, "original")
    until_at(page, 4.2, "suspect")
    beside.get_by_role("button", name="Pause").click()
    log = heard(page)
    assert all(len(each["sounding"]) <= 1 for each in log), "one at a time"
    assert all(each["sounding"] in ([], [each["side"]]) for each in log)
    places = [each["at"] for each in log]
    assert places == sorted(places), "each goes on where the other stopped"
    turns = [b["at"] for a, b in pairwise(log) if a["side"] != b["side"]]
    assert len(turns) == 2
    assert turns[0] >= 2.0
    assert turns[1] - turns[0] >= 2.0
    assert beside.locator("audio").evaluate_all("all => all.every(each => each.paused)")


def test_without_turns_one_side_plays_on_until_it_is_changed(page, beside):
    beside.get_by_role("button", name="Play").click()
    until_at(page, 2.6, "suspect")
    assert {each["side"] for each in heard(page)} == {"suspect"}
    beside.get_by_role("button", name="Change to the original").click()
    until_at(page, 2.6, "original")
    assert beside.get_by_role("status").inner_text() == "Now: the original"
    log = heard(page)
    changed = next(number for number, each in enumerate(log) if each["side"] == "original")
    assert log[changed]["at"] >= 2.6
    assert {each["side"] for each in log[changed:]} == {"original"}
    beside.get_by_role("button", name="Pause").click()
