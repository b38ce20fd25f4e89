"""Swagger UI, ReDoc, GraphiQL and our own pages work in a browser, with an empty console and no request elsewhere.

The browser is the system's Chromium, driven by Playwright; without one, these tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.pages.assets import is_installed

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BROWSER_ARGUMENTS = [
    "--no-sandbox",  # containers do not support the sandbox, and the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]
OWN_PAGES = ["/", "/problems", "/problems/not-found"]
EXPLORERS = {"/docs": "#swagger .opblock", "/redoc": "#redoc h1", "/graphql": "#graphiql .graphiql-query-editor"}
# On a busy machine the default of five seconds is too short.
expect.set_options(timeout=30_000)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: install the package chromium"),
    pytest.mark.skipif(not is_installed(), reason="the explorers are not installed: run python3 dev.py assets"),
]


class PageRecorder:
    """A page, with records of its console messages and of requests to other servers."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.messages: list[str] = []
        self.foreign_urls: list[str] = []
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("request", lambda request: self.record(request.url))
        page.on("requestfailed", lambda request: self.messages.append(f"failed: {request.url}"))

    def record(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(f"{self.base}/"):
            self.foreign_urls.append(url)

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        if path in EXPLORERS:
            expect(self.page.locator(EXPLORERS[path]).first).to_be_visible()
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def recorder(browser: Browser, live_server: str) -> Iterator[PageRecorder]:
    with browser.new_context() as context:
        yield PageRecorder(context.new_page(), live_server)


@pytest.mark.parametrize("path", [*OWN_PAGES, *EXPLORERS])
def test_a_page_logs_nothing_and_requests_this_server_only(recorder, path):
    page = recorder.go(path)
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready.then(() => new Promise(done => requestIdleCallback(done)))")

    assert recorder.messages == []
    assert recorder.foreign_urls == []


@pytest.mark.parametrize("path", [*OWN_PAGES, *EXPLORERS])
def test_our_own_markup_has_no_accessibility_violations(recorder, path):
    page = recorder.go(path)

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        results = Axe().run(page, {"exclude": [["#swagger"], ["#redoc"], ["#graphiql"]]})
        assert [
            violation for violation in results.response["violations"] if violation["impact"] in ("serious", "critical")
        ] == []


@pytest.mark.parametrize("path", [*OWN_PAGES, *EXPLORERS])
def test_the_first_tab_stop_is_the_skip_link(recorder, path):
    page = recorder.go(path)

    page.evaluate("document.activeElement?.blur()")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to content"
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"


def test_the_header_links_the_explorers(recorder):
    page = recorder.go("/")

    for name, path in [("Swagger UI", "/docs"), ("ReDoc", "/redoc"), ("GraphiQL", "/graphql")]:
        page.get_by_role("navigation", name="Explorers").get_by_role("link", name=name).click()
        expect(page).to_have_url(recorder.base + path)
        expect(page.locator(EXPLORERS[path]).first).to_be_visible()


def test_a_command_is_copied_with_the_address_of_this_server(recorder):
    recorder.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = recorder.go("/")

    page.get_by_role("button", name="Copy").first.click()

    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()").startswith(f"curl {recorder.base}/users ")


def test_swagger_ui_sends_a_request_and_shows_the_response(recorder):
    page = recorder.go("/docs")

    page.locator("[id$=-listUsers] .opblock-summary-control").click()
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert recorder.messages == []
    assert recorder.foreign_urls == []


def test_redoc_shows_every_operation(recorder):
    page = recorder.go("/redoc")

    document = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")

    for path in document["paths"].values():
        for operation in (part for part in path.values() if "operationId" in part):
            assert page.get_by_role("heading", name=operation["summary"]).count() > 0


def test_graphiql_runs_a_typed_query(recorder):
    page = recorder.go("/graphql")
    page.get_by_role("button", name="New tab").click()

    page.locator(".graphiql-query-editor .CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("{ users(first: 1) { totalCount nodes { id firstName } } }")
    page.keyboard.press("Control+Enter")

    expect(page.locator(".result-window")).to_contain_text('"totalCount"')
    assert "errors" not in page.locator(".result-window").inner_text()
    assert recorder.messages == []
    assert recorder.foreign_urls == []


def test_the_examples_of_graphiql_run_unchanged(recorder):
    page = recorder.go("/graphql")

    for name in ("CreateUser", "PeopleWithGroups", "FindPeople", "Groups"):
        page.get_by_role("tab", name=name, exact=True).click()
        page.get_by_role("button", name="Execute query").click()
        expect(page.locator(".result-window")).to_contain_text('"data"')
        assert "errors" not in page.locator(".result-window").inner_text()

    assert recorder.messages == []


def test_graphiql_stores_no_credentials(recorder):
    page = recorder.go("/graphql")

    page.get_by_role("button", name="Headers").click()
    page.locator(".graphiql-editor-tool .CodeMirror").last.click()
    page.keyboard.type('{"X-Secret": "tdm_0_secret"')
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator(".result-window")).to_contain_text('"data"')
    # GraphiQL writes its storage a moment later.
    page.wait_for_function("JSON.stringify({...localStorage}).includes('PeopleWithGroups')")

    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "PeopleWithGroups" in stored
    assert "secret" not in stored.lower()
