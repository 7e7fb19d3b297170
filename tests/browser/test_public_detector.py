"""The public detector in a browser without scripts, in both colour schemes, by a stranger."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.browser.conftest import _command, _environment, _free_port, _serving
from tests.support.accounts import PASSWORD
from watermark.audio.waveform import read, write

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """A studio with one account that lets the public ask; and an output of it."""
    folder = tmp_path_factory.mktemp("public")
    environment = _environment(folder)
    out = folder / "made.wav"
    arguments = ["generate", "--tags", "genre/jazz,mood/calm", "--seconds", "10", "--seed", "11"]
    subprocess.run(
        _command(*arguments, "--out", str(out)), env=environment, check=True, capture_output=True
    )
    subprocess.run(
        _command("account", "add", "root", "--role", "administrator", "--password-stdin"),
        env=environment,
        input=f"{PASSWORD}\n".encode(),
        check=True,
    )
    output_id = next((folder / "home" / "outputs").iterdir()).stem
    subprocess.run(_command("--as-owner", "publish", output_id), env=environment, check=True)
    settings = {
        "STUDIO_PUBLIC_DETECTOR__ENABLED": "true",
        "STUDIO_PUBLIC_DETECTOR__PROVIDER": "Example Records",
        "STUDIO_PUBLIC_DETECTOR__CONTACT": "mailto:wrong@studio.example",
    }
    os.environ.update(settings)
    try:
        with _serving(folder, port=_free_port()) as served:
            yield served, out
    finally:
        for name in settings:
            del os.environ[name]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_stranger_without_scripts_gets_each_grade(
    public, browser, tmp_path: Path, artifacts, scheme
):
    served, out = public
    profile = browser.browser.new_context(
        java_script_enabled=False, color_scheme=scheme, viewport={"width": 390, "height": 844}
    )
    page = profile.new_page()
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    write(tmp_path / "part.flac", read(out).slice(1.0, 9.0))
    (tmp_path / "text.mp3").write_text("no music")
    page.goto(f"{served.url}/detect")
    page.screenshot(path=artifacts / f"detect-form-{scheme}.png", full_page=True)
    wanted = {"part.flac": "Made with this studio", "text.mp3": "This recording cannot be judged"}
    for name, headline in wanted.items():
        page.get_by_label("Recording").set_input_files(tmp_path / name)
        page.get_by_role("button", name="Examine").click()
        page.get_by_role("heading", level=1, name=headline).wait_for()
        page.screenshot(path=artifacts / f"detect-{name}-{scheme}.png", full_page=True)
        width = page.locator("body").bounding_box()["width"]
        assert width <= 390, "nothing is cut off on a phone"
    assert profile.cookies() == []
    assert hosts == {served.url.removeprefix("http://")}
    profile.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_a_rule_of_accessibility(public, served, browser, tmp_path, scheme):
    from axe_playwright_python.sync_playwright import Axe

    profile = browser.browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = profile.new_page()
    (tmp_path / "text.mp3").write_text("no music")
    found = {}
    page.goto(f"{public[0].url}/detect")
    found["form"] = Axe().run(page).response["violations"]
    page.get_by_label("Recording").set_input_files(tmp_path / "text.mp3")
    page.get_by_role("button", name="Examine").click()
    page.get_by_role("heading", level=1, name="This recording").wait_for()
    found["answer"] = Axe().run(page).response["violations"]
    page.goto(f"{served.url}/cases")
    page.get_by_label("Reference number").fill("R-1")
    page.get_by_label("Title").fill(f"In {scheme}")
    found["cases"] = Axe().run(page).response["violations"]
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", level=1, name="R-1").wait_for()
    found["case"] = Axe().run(page).response["violations"]
    page.goto(f"{served.url}/api/v1/docs")
    found["reference"] = Axe().run(page).response["violations"]
    profile.close()
    assert {name: [each["id"] for each in faults] for name, faults in found.items()} == {
        name: [] for name in found
    }
