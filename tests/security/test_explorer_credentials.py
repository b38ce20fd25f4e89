"""The API explorers keep a credential in memory only, and send it as it was entered."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from api.app import create_app
from api.pages.assets import is_installed
from tests.browser.test_explorers import BROWSER_ARGUMENTS, CHROMIUM
from tests.fixtures import access_table
from tests.fixtures.credentials import key, production

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: install the package chromium"),
    pytest.mark.skipif(not is_installed(), reason="the explorers are not installed: run python3 dev.py assets"),
]


@pytest.fixture(scope="module")
def database(template, tmp_path_factory):
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("authorize") / "tandem.db"))
    access_table.populate(path)
    return path


@pytest.fixture(scope="module")
def api_key(database):
    """An API key of an administrator."""
    return key(database, "admin")


@pytest.fixture(scope="module")
def base(database, api_key):
    """The address of a server in production."""
    config = uvicorn.Config(create_app(production(database)), lifespan="on", log_level="error", access_log=False)
    server = uvicorn.Server(config)
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def page(api_key):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGUMENTS)
        yield browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        browser.close()


def stored(page):
    """Return everything that the browser stores for this server."""
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])")
    return f"{stored} {page.url} {page.context.cookies()}"


@pytest.mark.slow
def test_graphiql_sends_the_credential_and_does_not_store_it(page, base, api_key):
    page.goto(f"{base}/graphql")
    editor = page.locator("#graphiql .graphiql-query-editor")
    expect(editor).to_be_visible()

    page.get_by_label("API key or token").fill(api_key)
    page.get_by_role("button", name="Authorize").click()
    expect(page.locator("#authorized")).to_have_text("Sent with each request until this page is closed.")
    expect(editor).to_be_visible()
    page.get_by_role("button", name="Execute query").click()

    expect(page.locator("#graphiql .result-window")).to_contain_text("McAda")
    assert page.get_by_label("API key or token").input_value() == ""
    page.wait_for_timeout(1000)  # GraphiQL stores its tabs a moment later
    assert api_key not in stored(page)
    assert api_key.split("_", 2)[2] not in stored(page)
    page.reload()
    expect(editor).to_be_visible()
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator("#graphiql .result-window")).to_contain_text("UNAUTHENTICATED")


@pytest.mark.slow
def test_swagger_ui_sends_the_credential_and_does_not_store_it(page, base, api_key):
    page.goto(f"{base}/docs")

    page.locator("#swagger .btn.authorize").first.click()
    page.locator("#swagger .auth-container input").fill(api_key)
    page.locator("#swagger .auth-btn-wrapper .authorize").click()
    page.locator("#swagger .auth-btn-wrapper .btn-done").click()
    operation = page.locator("#operations-users-getMe")
    operation.locator(".opblock-summary-control").click()
    with page.expect_request(f"{base}/me") as sent:
        operation.locator(".execute").click()

    assert sent.value.headers["authorization"] == f"Bearer {api_key}"
    expect(operation.locator(".responses-table.live-responses-table .response-col_status").last).to_contain_text("404")
    assert api_key not in stored(page)
