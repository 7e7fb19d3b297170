"""The mixer of an output's stems, over music that the shipped model really makes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.browser.test_accessibility import complaints
from tests.browser.test_page import choose, make
from tests.browser.test_takes import until

pytestmark = pytest.mark.needs("chromium")

STEMS = ["drums", "bass", "lead", "harmony"]


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """The addresses of stems that the page asked for."""
    return []


@pytest.fixture(scope="module")
def page(served, browser, asked):
    """A page whose newest output is open, and so is its mixer; no stem was asked for."""
    page = browser.new_page()
    page.on("request", lambda each: "/stems" in each.url and asked.append(each.url))
    page.goto(served.url)
    page.get_by_role("region", name="Consent for your choice").wait_for()
    choose(page, "Genre", "jazz")
    page.get_by_text("tags are granted").wait_for()
    make(page)
    page.locator("details.take[open] studio-mixer").wait_for(timeout=180_000)
    mixer(page).locator("summary").click()
    yield page
    page.close()


@pytest.fixture(scope="module")
def loaded(page):
    mixer(page).get_by_role("button", name="Load the stems").click()
    mixer(page).get_by_text("4 stems loaded").wait_for(timeout=120_000)
    return mixer(page)


@pytest.fixture
def mixing(loaded):
    loaded.get_by_role("button", name="Reset").click()
    return loaded


def mixer(page):
    return page.locator("details.take[open] studio-mixer")


def offline(mixing) -> dict[str, float]:
    """RMS left and right of the whole mix, computed by the mixer's own wiring."""
    return mixing.evaluate(
        """async each => {
            const sounds = [...each.tracks].map(([stem, { sound }]) => [stem, sound]);
            const first = sounds[0][1];
            const context = new OfflineAudioContext(2, first.length, first.sampleRate);
            const nodes = each.wire(context, context.destination);
            for (const [stem, sound] of sounds) {
                const source = context.createBufferSource();
                source.buffer = sound;
                source.connect(nodes.get(stem).gain);
                source.start();
            }
            const made = await context.startRendering();
            const rms = channel => {
                // The first moments are the fade of the knobs.
                const part = made.getChannelData(channel).subarray(first.sampleRate / 2);
                return Math.sqrt(part.reduce((sum, each) => sum + each * each, 0) / part.length);
            };
            return { left: rms(0), right: rms(1) };
        }"""
    )


def loudest(mixing) -> float:
    """The loudest sample within a second of what the mixer plays."""
    return mixing.evaluate(
        """async each => {
            const analyser = each.bus.context.createAnalyser(), part = new Float32Array(2048);
            each.bus.connect(analyser);
            await new Promise(done => setTimeout(done, 200));  // what was heard before is over
            let peak = 0;
            for (let turn = 0; turn < 40; turn++) {
                await new Promise(done => setTimeout(done, 25));
                analyser.getFloatTimeDomainData(part);
                for (const sample of part) peak = Math.max(peak, Math.abs(sample));
            }
            each.bus.disconnect(analyser);
            return peak;
        }"""
    )


def released(mixing) -> dict[str, bool]:
    return mixing.evaluate("({ audio }) => ({ muted: audio.muted, playing: !audio.paused })")


def press(mixing, name) -> None:
    mixing.get_by_role("button", name=name, exact=True).click()


def test_opening_the_mixer_asks_for_no_stem(page, asked):
    assert asked == []
    assert mixer(page).get_by_text("counts as one request").is_visible()


def test_the_stems_are_asked_for_once_and_can_be_kept(page, mixing, asked):
    assert len(asked) == 1
    with page.expect_download() as download:
        mixing.get_by_role("link", name="Download stems (ZIP)").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert sum(name.endswith(".flac") for name in archive.namelist()) == len(STEMS)
    assert len(asked) == 1


def test_level_mute_solo_and_pan_change_the_mix(mixing):
    everything = offline(mixing)
    unchanged = pytest.approx(everything, rel=1e-5)
    assert offline(mixing) == unchanged, "the control"
    press(mixing, "Mute lead")
    without = offline(mixing)
    assert without["left"] < everything["left"] * 0.99
    press(mixing, "Mute lead")
    assert offline(mixing) == unchanged
    press(mixing, "Solo bass")
    bass = offline(mixing)
    mixing.get_by_label("Level of bass").fill("0.5")
    assert offline(mixing)["left"] == pytest.approx(bass["left"] / 2, rel=1e-3)
    mixing.get_by_label("Level of drums").fill("0.5")  # not heard beside a solo
    assert offline(mixing)["left"] == pytest.approx(bass["left"] / 2, rel=1e-3)
    mixing.get_by_label("Pan of bass").fill("-1")
    panned = offline(mixing)
    assert panned["right"] < 1e-4 < panned["left"]
    press(mixing, "Mute bass")  # mute wins over solo
    assert offline(mixing)["left"] < 1e-6


def test_what_is_heard_follows_the_player_and_the_mixer(page, mixing):
    player = page.locator("details.take[open] studio-player")
    player.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    until(page, player, "each => each.currentTime === 2")
    page.keyboard.press("[")
    page.keyboard.press("ArrowRight")
    until(page, player, "each => each.currentTime === 4")
    page.keyboard.press("]")
    player.get_by_role("button", name="Play").click()
    assert loudest(mixing) > 0.01
    assert released(mixing) == {"muted": True, "playing": True}
    for stem in STEMS:
        press(mixing, f"Mute {stem}")
    assert loudest(mixing) < 1e-4
    press(mixing, "Mute harmony")
    press(mixing, "Mute bass")
    assert loudest(mixing) > 0.001
    at = mixing.evaluate("({ audio }) => audio.currentTime")
    assert 1.9 < at < 5, "it loops as the player does"
    # The stems are where the player is.
    assert mixing.evaluate(
        """({ audio, playing: { since, from }, bus }) =>
            Math.abs(from + bus.context.currentTime - since - audio.currentTime)"""
    ) == pytest.approx(0, abs=0.25)

    press(mixing, "Bypass")
    assert loudest(mixing) < 1e-4
    assert released(mixing) == {"muted": False, "playing": True}
    press(mixing, "Bypass")
    assert loudest(mixing) > 0.001
    player.get_by_label("Volume").fill("0")
    assert loudest(mixing) < 1e-4
    player.get_by_label("Volume").fill("1")
    player.get_by_role("button", name="Pause").click()
    assert loudest(mixing) < 1e-4
    player.get_by_role("button", name="Loop").click()


def test_a_closed_mixer_leaves_the_released_file(page, mixing):
    assert released(mixing)["muted"]
    mixing.locator("summary").click()
    page.wait_for_function("each => !each.audio.muted", arg=mixing.element_handle())
    mixing.locator("summary").click()
    page.wait_for_function("each => each.audio.muted", arg=mixing.element_handle())


def test_it_is_worked_by_keyboard_and_says_its_values(page, mixing):
    level, pan = mixing.get_by_label("Level of drums"), mixing.get_by_label("Pan of drums")
    level.focus()
    page.keyboard.press("ArrowLeft")
    assert level.get_attribute("aria-valuetext") == "95 %"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert pan.get_attribute("aria-valuetext") == "left 10 %"
    page.keyboard.press("s")
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    pressed = {
        name: mixing.get_by_role("button", name=f"{name} drums").get_attribute("aria-pressed")
        for name in ("Mute", "Solo")
    }
    assert pressed == {"Mute": "true", "Solo": "true"}
    assert mixing.get_by_role("group", name="drums").count() == 1


def test_it_is_readable_at_every_size_and_in_both_schemes(page, mixing, artifacts):
    press(mixing, "Mute drums")
    press(mixing, "Solo lead")
    before = page.viewport_size
    for scheme in ("light", "dark"):
        if page.evaluate("document.documentElement.dataset.theme || 'light'") != scheme:
            page.locator("button.scheme").click()
        assert page.evaluate("document.documentElement.dataset.theme || 'light'") == scheme
        for width, height in ((1440, 900), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            mixing.screenshot(path=artifacts / f"mixer-{width}-{scheme}.png")
            assert complaints(page) == []
    page.locator("button.scheme").click()
    page.set_viewport_size(before)


def test_the_mix_is_remembered_nowhere(page, mixing):
    mixing.get_by_label("Level of drums").fill("0.3")
    kept = page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
    assert "drums" not in kept
    page.reload()
    page.locator("details.take").first.wait_for()
    assert page.locator(".strip").count() == 0


def test_a_refusal_is_told_and_nothing_changes(page):
    take = page.locator("details.take").first
    if take.get_attribute("open") is None:
        take.locator("> summary").click()
    page.route("**/stems?*", lambda route: route.fulfill(status=429, json=REFUSED))
    mixer(page).locator("summary").click()
    mixer(page).get_by_role("button", name="Load the stems").click()
    mixer(page).get_by_text("The day's limit is reached.").wait_for()
    assert mixer(page).get_by_role("button", name="Load the stems").is_visible()
    assert not mixer(page).evaluate("each => each.audio.muted")
    page.unroute("**/stems?*")


REFUSED = {"error": {"code": "quota", "message": "the day's limit is reached"}}
