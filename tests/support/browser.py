"""Chromium for tests of the page: one browser, and pages whose every complaint fails the test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

TIMEOUT_MS = 30_000
_EXPECTED = "Failed to load resource"
"""What Chromium itself says of an answer that is an error; tests ask for some on purpose."""


def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched_page(browser: Browser, url: str, *, width: int = 1280, height: int = 800, **more: Any) -> Iterator[Page]:
    """Open a page that fails the test if it throws, breaks the content security policy, or asks another host."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and _EXPECTED not in message.text:
            complaints.append(message.text)

    context = browser.new_context(base_url=url, viewport={"width": width, "height": height}, **more)
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)  # assertions have a deadline of their own, of 5 s
    page = context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(url) else complaints.append(request.url))
    try:
        yield page
    finally:
        context.close()
    assert complaints == []
