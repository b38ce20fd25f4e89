"""Swagger UI, ReDoc, GraphiQL and our own pages work in a real browser: silent console, no request to anywhere else.

The browser is the Chromium of the system, driven by Playwright; where there is none, these tests are skipped.
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
QUIETLY = [
    "--no-sandbox",  # in a container there is no other wall to build, and the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]
OURS = ["/", "/problems", "/problems/not-found"]
EXPLORERS = {"/docs": "#swagger .opblock", "/redoc": "#redoc h1", "/graphql": "#graphiql .graphiql-query-editor"}
# What does not come in this time does not come; on a busy machine the usual five seconds are too few.
expect.set_options(timeout=30_000)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: install the package chromium"),
    pytest.mark.skipif(not is_installed(), reason="the explorers are not installed: run python3 dev.py assets"),
]


class Visit:
    """A page that notes what its console said, and whom it asked."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.note(request.url))
        page.on("requestfailed", lambda request: self.said.append(f"failed: {request.url}"))

    def note(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(f"{self.base}/"):
            self.elsewhere.append(url)

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        if path in EXPLORERS:
            expect(self.page.locator(EXPLORERS[path]).first).to_be_visible()
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, live_server: str) -> Iterator[Visit]:
    with browser.new_context() as context:
        yield Visit(context.new_page(), live_server)


@pytest.mark.parametrize("path", [*OURS, *EXPLORERS])
def test_a_page_is_silent_and_asks_this_server_alone(visit, path):
    page = visit.go(path)
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready.then(() => new Promise(done => requestIdleCallback(done)))")

    assert visit.said == []
    assert visit.elsewhere == []


@pytest.mark.parametrize("path", [*OURS, *EXPLORERS])
def test_nothing_of_ours_is_in_the_way_of_anybody(visit, path):
    page = visit.go(path)

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, {"exclude": [["#swagger"], ["#redoc"], ["#graphiql"]]})
        assert [breach for breach in found.response["violations"] if breach["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("path", [*OURS, *EXPLORERS])
def test_the_keyboard_comes_first_to_a_way_past_the_bar(visit, path):
    page = visit.go(path)

    page.evaluate("document.activeElement?.blur()")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to content"
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"


def test_one_explorer_leads_to_the_next(visit):
    page = visit.go("/")

    for name, path in [("Swagger UI", "/docs"), ("ReDoc", "/redoc"), ("GraphiQL", "/graphql")]:
        page.get_by_role("navigation", name="Explorers").get_by_role("link", name=name).click()
        expect(page).to_have_url(visit.base + path)
        expect(page.locator(EXPLORERS[path]).first).to_be_visible()


def test_a_command_of_the_front_page_is_copied_with_this_address(visit):
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.go("/")

    page.get_by_role("button", name="Copy").first.click()

    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()").startswith(f"curl {visit.base}/users ")


def test_swagger_ui_makes_a_call_and_shows_the_answer(visit):
    page = visit.go("/docs")

    page.locator("[id$=-listUsers] .opblock-summary-control").click()
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert visit.said == []
    assert visit.elsewhere == []


def test_redoc_shows_every_operation(visit):
    page = visit.go("/redoc")

    described = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")

    for path in described["paths"].values():
        for operation in (part for part in path.values() if "operationId" in part):
            assert page.get_by_role("heading", name=operation["summary"]).count() > 0


def test_a_query_that_is_typed_into_graphiql_is_answered(visit):
    page = visit.go("/graphql")
    page.get_by_role("button", name="New tab").click()

    page.locator(".graphiql-query-editor .CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("{ users(first: 1) { totalCount nodes { id firstName } } }")
    page.keyboard.press("Control+Enter")

    expect(page.locator(".result-window")).to_contain_text('"totalCount"')
    assert "errors" not in page.locator(".result-window").inner_text()
    assert visit.said == []
    assert visit.elsewhere == []


def test_the_examples_of_graphiql_run_as_they_are(visit):
    page = visit.go("/graphql")

    for name in ("CreateUser", "PeopleWithGroups", "FindPeople", "Groups"):
        page.get_by_role("tab", name=name, exact=True).click()
        page.get_by_role("button", name="Execute query").click()
        expect(page.locator(".result-window")).to_contain_text('"data"')
        assert "errors" not in page.locator(".result-window").inner_text()

    assert visit.said == []


def test_graphiql_forgets_the_credentials_that_it_was_given(visit):
    page = visit.go("/graphql")

    page.get_by_role("button", name="Headers").click()
    page.locator(".graphiql-editor-tool .CodeMirror").last.click()
    page.keyboard.type('{"X-Secret": "tdm_0_secret"')
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator(".result-window")).to_contain_text('"data"')
    # What GraphiQL keeps it keeps a moment later.
    page.wait_for_function("JSON.stringify({...localStorage}).includes('PeopleWithGroups')")

    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "PeopleWithGroups" in kept
    assert "secret" not in kept.lower()
