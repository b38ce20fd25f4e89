"""The pages are safe, link to this server only, and work under any prefix.

`tests/browser/test_explorers.py` tests them in a browser, `test_assets.py` the installation of the explorers.
"""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from api.pages.assets import MANIFEST
from api.pages.problems import ProblemType
from api.pages.routes import PAGE_HEADERS, POLICY, STATIC, graphiql_page, routes

PROBLEMS = [
    ProblemType("NOT_FOUND", "Nothing is here", 404, "There is no such thing.", "Look for <another> one."),
    ProblemType("GRAPHQL_PARSE_FAILED", "Not GraphQL", None, "It cannot be parsed.", "Correct it."),
]
PAGES = ["/", "/docs", "/redoc", "/graphql", "/problems", "/problems/not-found", "/problems/graphql-parse-failed"]


@pytest.fixture
def vendor(tmp_path):
    """A folder with stand-ins for the explorers' files."""
    for package in json.loads(MANIFEST.read_bytes())["packages"]:
        for path in package["files"].values():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(f"/* {path} */" * 100)
    return tmp_path


@pytest.fixture
def http_client(vendor):
    return TestClient(service(vendor), base_url="http://localhost:8000")


def service(vendor: Path) -> Starlette:
    """Return the pages, with stand-ins for what they link to."""
    others = [Route(path, lambda _: PlainTextResponse("{}")) for path in ("/openapi.json", "/health/ready")]
    graphql = Route("/graphql", lambda request: graphiql_page(request, vendor))
    return Starlette(routes=[*routes(PROBLEMS, vendor), graphql, *others])


class Reader(HTMLParser):
    """The tags and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def links(self) -> list[str]:
        return [link for _, tag in self.tags if (link := tag.get("href") or tag.get("src"))]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_the_security_headers(http_client, path):
    response = http_client.get(path)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert {name.lower(): value for name, value in PAGE_HEADERS.items()}.items() <= dict(response.headers).items()
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_landmarks_for_screen_readers(http_client, path):
    page = Reader(http_client.get(path).text)

    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) == len(page.all("main")) == len(page.all("header")) == len(page.all("nav")) == 1
    assert {"class": "skip", "href": "#main"} in page.all("a")
    assert page.all("main")[0]["id"] == "main"
    assert len(page.all("h1")) == (0 if path == "/redoc" else 1)  # ReDoc brings its own


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_inline_code(http_client, path):
    text = http_client.get(path).text
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", text)


@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_to_this_server(vendor, prefix, path):
    app = Starlette(routes=[Mount(prefix, app=service(vendor))]) if prefix else service(vendor)
    http_client = TestClient(app, base_url="http://localhost:8000")

    page = Reader(http_client.get(prefix + path).text)

    for link in page.links:
        target = urljoin(f"http://localhost:8000{prefix}{path}", link)
        assert urlsplit(target).netloc == "localhost:8000"
        assert http_client.get(target).status_code == 200, target


@pytest.mark.parametrize("path, here", [("/docs", "docs"), ("/redoc", "redoc"), ("/graphql", "graphql"), ("/", None)])
def test_the_header_marks_the_current_page(http_client, path, here):
    page = Reader(http_client.get(path).text)
    current = [link["href"] for link in page.all("a") if "aria-current" in link]
    assert current == ([here] if here else [])
    assert {"docs", "redoc", "graphql", "openapi.json"} <= set(page.links)


def test_the_front_page_shows_three_requests_with_the_address_of_this_server(http_client):
    text = http_client.get("/", headers={"Host": "directory.example.org"}).text

    assert len(re.findall(r"""curl '?<span class="base">http://directory\.example\.org</span>/""", text)) == 3


@pytest.mark.parametrize("host", ["a`id`.example", "x$(id)", "a;id", "a'b", "<b>", "a b"])
def test_a_host_that_is_unsafe_in_a_shell_is_not_shown(http_client, host):
    text = http_client.get("/", headers={"Host": host}).text
    assert host not in text
    assert re.search(r'class="base">http://(localhost|testserver)[:\d]*</span>/users', text)


def test_a_problem_type_has_a_page_with_a_remedy(http_client):
    text = http_client.get("/problems/not-found").text

    assert "<h1>Nothing is here</h1>" in text
    assert "HTTP 404" in text
    assert "There is no such thing." in text
    assert "Look for &lt;another&gt; one." in text
    assert "problems/not-found" in Reader(http_client.get("/problems").text).links


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/graphql"])
def test_without_the_explorers_a_page_says_how_to_install_them(tmp_path, path):
    http_client = TestClient(service(tmp_path / "nowhere"))

    response = http_client.get(path)

    assert response.status_code == 200
    assert response.headers["content-security-policy"] == POLICY
    assert "python3 dev.py assets" in response.text
    assert "openapi.json" in Reader(response.text).links


def test_the_graphiql_page_needs_no_request(vendor):
    response = graphiql_page(vendor=vendor)
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert b'id="graphiql"' in bytes(response.body)


MEDIA_TYPES = """
    /static/own/tandem.css                           text/css; charset=utf-8
    /static/own/front.js                             text/javascript; charset=utf-8
    /static/own/favicon.svg                          image/svg+xml
    /favicon.ico                                     image/svg+xml
    /static/vendor/swagger-ui/swagger-ui.css         text/css; charset=utf-8
    /static/vendor/redoc/redoc.standalone.js         text/javascript; charset=utf-8
    /static/vendor/redoc/LICENSE.txt                 text/plain; charset=utf-8
"""


@pytest.mark.parametrize("path, media_type", [line.split(maxsplit=1) for line in MEDIA_TYPES.strip().splitlines()])
def test_a_file_has_its_media_type(http_client, path, media_type):
    response = http_client.get(path)

    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/graphql"])
def test_files_that_a_page_links_are_immutable(http_client, path):
    links = [link for link in Reader(http_client.get(path).text).links if link.startswith("static/")]

    kept = {http_client.get(f"/{link}").headers["cache-control"] for link in links}

    assert kept == {"public, max-age=31536000, immutable"}
    assert http_client.get("/static/own/tandem.css?v=stale").headers["cache-control"] == "no-cache"


def test_a_changed_file_has_a_new_address(http_client, vendor):
    script = vendor / "redoc/redoc.standalone.js"
    before = Reader(http_client.get("/redoc").text).links

    script.write_text("/* other */")
    os.utime(script, ns=(1, 1))

    changed = set(Reader(http_client.get("/redoc").text).links) - set(before)
    assert [link.partition("?")[0] for link in changed] == ["static/vendor/redoc/redoc.standalone.js"]


@pytest.mark.parametrize("path", ["/", "/docs", "/problems/not-found", "/static/own/tandem.css"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_current_etag_gets_304(http_client, path, encoding):
    headers = {"Accept-Encoding": encoding}
    etag = http_client.get(path, headers=headers).headers["etag"]

    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = http_client.get(path, headers={**headers, "If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    assert http_client.get(path, headers={**headers, "If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "accepted, encoding",
    [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("gzip; q=0.0, br", None)],
)
def test_text_is_gzipped_where_accepted(http_client, accepted, encoding):
    response = http_client.get("/static/own/tandem.css", headers={"Accept-Encoding": accepted})

    assert response.headers.get("content-encoding") == encoding
    assert response.headers["vary"] == "Accept-Encoding"
    assert response.text == (STATIC / "own" / "tandem.css").read_text()


NOT_FOUND = """
    /static  /static/  /static/own  /static/own/  /static/vendor/redoc  /static/vendor/installed.json
    /static/manifest.json  /static/npm.txt  /static/pages/front.html  /static/own/nothing.css
    /static/own/../manifest.json  /static/own/%2e%2e/pages/front.html  /static/own/..%2f..%2fdocs.py
    /static/own/..%5c..%5cdocs.py  /static/own/tandem.css%00  /static/own/tandem.css/x  /static/own//tandem.css
    /problems/unheard-of  /problems/NOT_FOUND  /problems/not-found/more
    /static//etc/passwd  /static/own/.hidden.css  /static/vendor/.hidden.css
"""


@pytest.mark.parametrize("path", NOT_FOUND.split())
def test_other_paths_are_not_found(http_client, path):
    assert http_client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/problems", "/static/own/tandem.css"])
def test_pages_support_get_and_head_only(http_client, path):
    refused = http_client.post(path)
    assert http_client.head(path).status_code == 200
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
