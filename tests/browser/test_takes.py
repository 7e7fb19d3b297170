"""Takes of one press, and the player under each of them."""

from __future__ import annotations

import pytest

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
