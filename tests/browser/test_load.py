"""What a first visit costs: bytes and requests, Gradio's own files apart."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("chromium")

_GRADIOS = ("/assets/", "/static/", "/svelte/", "/theme.css")


def test_a_cold_load_is_small_and_fetches_no_sound(served, browser):
    profile = browser.browser.new_context()
    page = profile.new_page()
    protocol = profile.new_cdp_session(page)
    protocol.send("Network.enable")
    addresses, sizes = {}, {}
    protocol.on(
        "Network.responseReceived",
        lambda e: addresses.__setitem__(e["requestId"], e["response"]["url"]),
    )
    protocol.on(
        "Network.loadingFinished",
        lambda e: sizes.__setitem__(e["requestId"], e["encodedDataLength"]),
    )
    page.goto(served.url)
    page.get_by_text("Consent for your choice").wait_for()
    page.wait_for_load_state("load")
    ours = {
        id_: address.removeprefix(served.url)
        for id_, address in addresses.items()
        if address.startswith("http") and not address.removeprefix(served.url).startswith(_GRADIOS)
    }
    assert len(ours) <= 40
    assert sum(sizes.get(id_, 0) for id_ in ours) <= 250_000
    assert not any("/audio" in path for path in ours.values())
    assert all(address.startswith((served.url, "data:")) for address in addresses.values())
    profile.close()
