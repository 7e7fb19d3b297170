"""The administrator's button for a model that is not here; a server stands for the hub."""

from __future__ import annotations

import pytest

from tests.browser.conftest import _serving
from tests.browser.test_accessibility import complaints
from tests.integration.test_model_fetch import Hub
from tests.support.models import tiny_hub_model

pytestmark = pytest.mark.needs("chromium")


def test_a_model_is_fetched_by_a_button(browser, tmp_path, monkeypatch, artifacts):
    hub = Hub(tiny_hub_model(tmp_path / "hub").path)
    hub.thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    page = browser.new_page()
    try:
        with _serving(tmp_path) as served:
            page.goto(served.url)
            page.get_by_text("tags are granted").wait_for()
            model = page.get_by_role("combobox", name="Model")
            model.click()
            page.get_by_role("option", name="MusicGen small").click()
            panel = page.locator("studio-fetch")
            fetch = panel.get_by_role("button", name="Fetch MusicGen small")
            fetch.wait_for()
            assert "about 2 GB" in panel.text_content() and fetch.is_disabled()
            assert complaints(page) == [] and hub.requests == []
            page.screenshot(path=artifacts / "model-fetch.png")
            panel.get_by_label("I accept the licence CC-BY-NC-4.0").check()
            hub.slow.set()
            fetch.click()
            panel.get_by_role("progressbar").wait_for()
            assert complaints(page) == []
            panel.get_by_role("button", name="Cancel").click()
            panel.get_by_text("The next fetch goes on from here").wait_for()
            hub.slow.clear()
            panel.get_by_label("I accept the licence CC-BY-NC-4.0").check()
            panel.get_by_role("button", name="Fetch on").click()
            reload = panel.get_by_role("link", name="Reload the page to use it")
            reload.wait_for(timeout=120_000)
            with page.expect_navigation():
                reload.click()
            page.get_by_role("region", name="Consent for your choice").wait_for()
            model.click()
            option = page.get_by_role("option", name="MusicGen small")
            option.wait_for()
            assert "not on this machine" not in option.text_content()
    finally:
        page.close()
        hub.server.shutdown()
        hub.thread.join()
        hub.server.server_close()
