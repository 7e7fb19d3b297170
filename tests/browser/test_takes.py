"""Takes of one press, and the player under each of them."""

from __future__ import annotations

import pytest

from tests.browser.test_accessibility import complaints
from tests.browser.test_page import choose, finished, generate

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def pair(served, browser):
    """A page with two takes of one press."""
    page = browser.new_page()
    page.goto(served.url)
    page.get_by_role("region", name="Consent for your choice").wait_for()
    choose(page, "Genre", "waltz")
    choose(page, "Takes", "2")
    page.get_by_text("tags are granted").wait_for()
    generate(page)
    page.get_by_text("Take 2 of 2").filter(visible=True).first.wait_for(timeout=180_000)
    finished(page)
    choose(page, "Takes", "1")
    yield page
    page.close()


def player(page, place):
    row = page.locator("details.take").nth(place)
    if row.get_attribute("open") is None:
        row.locator("> summary").click()
    return row.locator("studio-player")


def position(player) -> float:
    return player.locator("audio").evaluate("each => each.currentTime")


def playing(player) -> bool:
    return player.locator("audio").evaluate("each => !each.paused")


def seed_of(page, place) -> int:
    text = page.locator("details.take").nth(place).locator("> summary").inner_text()
    return int(text.rpartition("seed ")[2])


def until(page, player, script) -> None:
    page.wait_for_function(script, arg=player.locator("audio").element_handle())


def test_each_take_has_a_seed_of_its_own(pair):
    assert seed_of(pair, 0) == seed_of(pair, 1) + 1


def test_a_and_b_are_heard_at_the_same_position(pair):
    one, two = player(pair, 0), player(pair, 1)
    one.get_by_role("button", name="Play").click()
    one.locator("canvas").focus()
    pair.keyboard.press("ArrowRight")
    pair.keyboard.press("ArrowRight")
    until(pair, one, "each => each.currentTime > 4")
    two.get_by_role("button", name="A/B").click()
    until(pair, two, "each => each.currentTime > 3.9")
    assert playing(two)
    assert not playing(one)
    two.get_by_role("button", name="Pause").click()


def test_the_player_is_worked_by_keyboard_and_loops_a_region(pair):
    one = player(pair, 0)
    wave = one.get_by_role("slider", name="Position in")
    wave.focus()
    pair.keyboard.press("Home")
    until(pair, one, "each => each.currentTime === 0")
    pair.keyboard.press("[")
    pair.keyboard.press("ArrowRight")
    until(pair, one, "each => each.currentTime === 2")
    pair.keyboard.press("]")
    assert one.get_by_role("button", name="Loop").get_attribute("aria-pressed") == "true"
    one.locator("audio").evaluate("each => { each.playbackRate = 4; }")
    pair.keyboard.press(" ")
    # Round the region several times: what is played never passes its end by more than a frame.
    one.locator("audio").evaluate(
        """each => new Promise(done => {
            let rounds = 0, before = 0;
            const look = () => {
                if (each.currentTime < before) rounds++;
                before = each.currentTime;
                rounds >= 3 ? done() : requestAnimationFrame(look);
            };
            look();
        })"""
    )
    assert position(one) < 5
    pair.keyboard.press("l")
    assert one.get_by_role("button", name="Loop").get_attribute("aria-pressed") == "false"
    pair.keyboard.press(" ")
    assert not playing(one)


def test_a_click_seeks_and_a_drag_marks_a_region(pair):
    one = player(pair, 0)
    box = one.locator("canvas").bounding_box()
    middle = box["y"] + box["height"] / 2
    pair.mouse.click(box["x"] + box["width"] / 2, middle)
    until(pair, one, "each => Math.abs(each.currentTime - each.duration / 2) < 0.3")
    pair.mouse.move(box["x"] + box["width"] / 4, middle)
    pair.mouse.down()
    pair.mouse.move(box["x"] + box["width"] * 3 / 4, middle, steps=5)
    pair.mouse.up()
    assert "loop 0:02" in one.locator(".player-time").inner_text()
    one.get_by_role("button", name="Loop").click()


def test_one_volume_holds_for_all_players_and_the_next_visit(pair, served):
    one, two = player(pair, 0), player(pair, 1)
    one.get_by_label("Volume").fill("0.4")
    assert two.locator("audio").evaluate("each => each.volume") == 0.4
    other = pair.context.new_page()
    other.goto(served.url)
    other.locator("studio-player audio").first.wait_for(state="attached")
    assert other.locator("studio-player audio").first.evaluate("each => each.volume") == 0.4
    other.close()


def test_settings_come_back_and_again_makes_one_more(pair):
    choose(pair, "Genre", "jazz")
    row = pair.locator("details.take").first
    row.get_by_role("button", name="Use these settings").click()
    genre = pair.get_by_role("radiogroup", name="Genre")
    genre.locator("input[value='genre/waltz']:checked").wait_for()
    before, seed = pair.locator("details.take").count(), seed_of(pair, 0)
    row.get_by_role("button", name="Again, new seed").click()
    pair.locator("details.take").nth(before).wait_for(state="attached", timeout=180_000)
    assert seed_of(pair, 0) != seed


# -- heard while it is made ------------------------------------------------------------------------


def ask_for(page, seconds: int) -> None:
    duration = page.get_by_label("number input for Duration")
    duration.fill(str(seconds))
    duration.press("Tab")
    generate(page)


def sounding(page) -> int:
    return page.evaluate(
        """[...document.querySelectorAll("studio-player, studio-preview")]
            .filter(each => !each.audio.paused).length"""
    )


def test_music_is_heard_while_it_is_made_and_its_file_goes_on(pair):
    pair.locator("#bar").get_by_role("button", name="Play at once").click()
    pair.locator("#bar .at-once[aria-pressed=true]").wait_for()
    ask_for(pair, 12)
    preview = pair.locator("studio-preview")
    preview.get_by_role("button", name="Pause preview of").wait_for(timeout=120_000)
    pair.wait_for_function("document.querySelector('studio-preview').audio.currentTime > 0.4")
    assert sounding(pair) == 1
    assert "made" in preview.locator(".player-time").inner_text()
    assert preview.locator("audio, a").count() == 0, "there is no file to save"
    first = preview.evaluate("each => each.audio.made")
    pair.wait_for_function(
        "made => document.querySelector('studio-preview').audio.made > made", arg=first
    )
    preview.get_by_role("slider", name="Position in").focus()
    pair.keyboard.press(" ")
    pair.keyboard.press("Home")
    assert preview.evaluate("each => each.audio.currentTime") == 0
    pair.keyboard.press("End")
    reached = preview.evaluate("each => [each.audio.currentTime, each.audio.made]")
    assert 0 < reached[0] <= reached[1], "it seeks within what is there"
    pair.keyboard.press("Home")
    pair.keyboard.press(" ")
    # Where the preview is as it falls silent, and where the file is that takes over.
    handed = pair.evaluate_handle(
        """() => new Promise(done => {
            const stream = document.querySelector("studio-preview").audio;
            stream.addEventListener("pause", () => {
                const audio = [...document.querySelectorAll("audio")].find(each => !each.paused);
                done([stream.at, audio?.currentTime]);
            }, { once: true });
        })"""
    )
    preview_at, file_at = handed.json_value()
    assert file_at == pytest.approx(preview_at, abs=0.15)
    assert preview.count() == 0
    one = player(pair, 0)
    assert pair.evaluate("document.activeElement.className") == "play", "the focus goes on"
    until(pair, one, "each => each.volume === Number(each.parentNode.knob.value)")
    assert playing(one)
    assert sounding(pair) == 1


def test_a_preview_takes_nothing_away_and_ends_with_its_request(pair):
    one = player(pair, 0)
    one.get_by_role("button", name="Loop").click()
    if not playing(one):
        one.get_by_role("button", name="Play").click()
    ask_for(pair, 60)
    listen = pair.locator("#bar").get_by_role("button", name="Play preview")
    listen.wait_for(timeout=120_000)
    assert playing(one), "although new music is to be played at once"
    assert complaints(pair) == []
    listen.press("Enter")
    preview = pair.locator("studio-preview")
    preview.get_by_role("button", name="Pause preview of").wait_for()
    assert not playing(one), "one at a time"
    assert sounding(pair) == 1
    pair.locator("#bar").get_by_role("button", name="Cancel").click()
    ended = pair.locator(".job", has_text="The preview has ended. Nothing of it was released.")
    ended.filter(has_text="Cancelled").wait_for(timeout=60_000)
    assert preview.count() == 0
    assert sounding(pair) == 0
    ended.get_by_role("button", name="Dismiss").click()
    pair.locator("#bar").get_by_role("button", name="Play at once").click()
