"""What goes wrong at the REST door is told in a problem document (RFC 9457), with the status and headers due to it.

Each refusal stands beside the nearest request that is not refused. `test_json.py` has those of malformed JSON.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http import problem_details
from api.middleware.request import LONGEST_URL
from api.pages.problems import problem_types
from api.settings import read
from schema.engine.errors import Conflict, DirectoryError, Overloaded, ServiceUnavailable
from schema.migrations.commands import migrate
from tests.fixtures.in_process import in_process_app

JSON = {"content-type": "application/json"}
NOBODY = "00000000-0000-7000-8000-000000000000"
LIMIT = 256 * 1024


@pytest.fixture(scope="module")
def http_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("problems") / "tandem.db"
    migrate(str(path))
    app = in_process_app(read({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def ada(http_client: TestClient) -> str:
    return str(http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()["id"])


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The answer's document, which is whole and says the same as the answer."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = answer.json()
    assert told.keys() == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    assert (told["status"], told["code"]) == (status, code)
    assert told["type"] == f"/problems/{code.lower().replace('_', '-')}"
    assert told["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return told


# Addresses and methods


@pytest.mark.parametrize(
    "path", ["/nothing", "/users/x/y", "/groups/a/members/b/c", "/api/users", "/health/x", "/.env"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE"])
def test_an_unknown_path_is_not_found(http_client, method, path):
    told = problem(http_client.request(method, path), 404, "NOT_FOUND")

    assert told["instance"] == path


@pytest.mark.parametrize("path", ["/users/", "/users/{id}/", "/groups/", "/docs/"])
def test_a_slash_too_many_is_not_found_and_the_right_address_is_named(http_client, ada, path):
    told = problem(http_client.get(path.format(id=ada)), 404, "NOT_FOUND")

    assert f"did you mean {path.format(id=ada).rstrip('/')}?" in told["detail"]
    assert http_client.get(path.format(id=ada).rstrip("/")).status_code == 200


@pytest.mark.parametrize("path", ["/a b", "/ä/ö", "/%00", '/"<x>', "/%zz", "/x|y"])
def test_a_path_is_told_as_a_reference(http_client, path):
    told = problem(http_client.get(path), 404, "NOT_FOUND")

    assert told["instance"].isascii()
    assert not set(told["instance"]) & set(' "<>|')


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/users", "GET, HEAD, OPTIONS, POST"),
        ("/users/{id}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/users/{id}/groups", "GET, HEAD, OPTIONS"),
        ("/users/{id}/deactivate", "OPTIONS, POST"),
        ("/groups/{id}/members/{id}", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/me", "GET, HEAD, OPTIONS"),
        ("/greetings", "OPTIONS, POST"),
    ],
)
def test_the_methods_of_a_path_are_listed(http_client, ada, path, allowed):
    path = path.format(id=ada)
    options = http_client.options(path)

    assert (options.status_code, options.content, options.headers["allow"]) == (204, b"", allowed)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "BREW"} - set(allowed.split(", ")):
        refused = http_client.request(
            method, path, content=b"\xff", headers={"content-type": "text/plain", "accept": "x/y"}
        )
        problem(refused, 405, "METHOD_NOT_ALLOWED")
        assert refused.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/docs", "/health", "/openapi.json"])
def test_pages_and_checks_have_methods_too(http_client, path):
    refused = http_client.post(path)

    problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/users", "/users/{id}", "/users/{id}/groups", "/nothing", "/users?nonsense=1"])
def test_head_is_get_without_its_body(http_client, ada, path):
    whole, head = http_client.get(path.format(id=ada)), http_client.head(path.format(id=ada))

    changing = {"x-request-id", "date"}
    assert head.content == b""
    assert head.status_code == whole.status_code
    assert {*head.headers.items()} ^ {*whole.headers.items()} <= {(k, v) for k in changing for v in _of(k, head, whole)}


def _of(name: str, *answers: Any) -> list[str]:
    return [answer.headers[name] for answer in answers if name in answer.headers]


def test_a_url_may_have_8_kib(http_client):
    fits = "/users?" + "x" * (LONGEST_URL - len("/users?") + 1)

    assert http_client.get(fits).status_code == 422
    problem(http_client.get(f"{fits}x"), 414, "URI_TOO_LONG")


@pytest.mark.parametrize("query", ["first_name=%ff", "first_name=%c3", "x=%ed%a0%80"])
def test_a_query_that_is_no_utf_8_cannot_be_read(http_client, query):
    problem(http_client.get(f"/users?{query}"), 400, "BAD_REQUEST")


def test_a_parameter_that_stands_twice_cannot_be_read(http_client):
    told = problem(http_client.get("/users?limit=1&limit=1"), 400, "BAD_REQUEST")

    assert [field_error["parameter"] for field_error in told["errors"]] == ["limit"]


def test_an_unknown_parameter_is_named_and_so_are_those_that_there_are(http_client, ada):
    told = problem(http_client.get("/users?agee=3&first_name=Ada&%00=1"), 422, "VALIDATION_FAILED")

    assert [field_error["parameter"] for field_error in told["errors"]] == ["agee", "\x00"]
    assert "age__gte" in told["errors"][0]["message"]
    problem(http_client.get(f"/users/{ada}?fields=age"), 422, "VALIDATION_FAILED")


# Forms


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "application/*", "text/html, */*;q=0.1", "TEXT/*,application/JSON;q=1"]
)
def test_an_answer_is_json_where_that_is_taken(http_client, accept):
    assert http_client.get("/users", headers={"accept": accept}).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "application/json;q=0", "*/*;q=0", "x", "application/json;q=0, */*"]
)
def test_another_form_is_not_to_be_had(http_client, accept):
    told = problem(http_client.get("/users", headers={"accept": accept}), 406, "NOT_ACCEPTABLE")

    assert "application/json" in told["detail"]


@pytest.mark.parametrize(
    "media",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_a_body_is_taken_as_json_in_utf_8(http_client, media):
    assert http_client.post("/greetings", content=b'{"name": "\xc3\x85"}', headers={"content-type": media}).is_success


FORMS = ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]


@pytest.mark.parametrize("media", [*FORMS, "application/json; charset=latin-1"])
@pytest.mark.parametrize(
    "method, path, header, taken",
    [
        ("POST", "/users", "accept-post", "application/json"),
        ("POST", "/users/{id}/deactivate", "accept-post", "application/json"),
        ("PATCH", "/users/{id}", "accept-patch", "application/merge-patch+json, application/json"),
        ("PUT", "/groups/{id}/members/{id}", "accept", "application/json"),
    ],
)
def test_a_body_in_another_form_is_not_read(http_client, ada, method, path, header, taken, media):
    answer = http_client.request(method, path.format(id=ada), content=b"{}", headers={"content-type": media})

    problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert answer.headers[header] == taken


def test_a_patch_is_a_merge_patch_under_either_name(http_client, ada):
    for media in ("application/json", "application/merge-patch+json"):
        assert http_client.patch(f"/users/{ada}", content=b"{}", headers={"content-type": media}).is_success


def test_a_body_may_have_256_kib(http_client):
    fits = json.dumps({"first_name": "Ada", "age": 36}).encode().ljust(LIMIT)

    assert http_client.post("/users", content=fits, headers=JSON).status_code == 201
    problem(http_client.post("/users", content=fits + b" ", headers=JSON), 413, "PAYLOAD_TOO_LARGE")
    problem(http_client.post("/users", content=iter([fits, b" "]), headers=JSON), 413, "PAYLOAD_TOO_LARGE")


# What is wrong in a body


@pytest.mark.parametrize(
    "body, pointers",
    [
        ({}, {"/first_name", "/age"}),
        ({"first_name": "Ada", "age": 36, "a/b~c": 1}, {"/a~1b~0c"}),
        ({"first_name": "Ada", "age": 36, "": 1}, {"/"}),
        ({"first_name": 1, "age": "x", "id": NOBODY}, {"/first_name", "/age", "/id"}),
    ],
)
def test_a_fault_points_to_where_it_is(http_client, body, pointers):
    told = problem(http_client.post("/users", json=body), 422, "VALIDATION_FAILED")

    assert {field_error["pointer"] for field_error in told["errors"]} == pointers
    assert all(field_error["message"] and field_error["code"] for field_error in told["errors"])


def test_a_hundred_faults_are_enough(http_client):
    told = problem(
        http_client.post("/users", json={f"x{number}": 1 for number in range(150)}), 422, "VALIDATION_FAILED"
    )

    assert len(told["errors"]) == 100
    assert len(told["detail"]) <= 4000


# The order of refusals: what is not valid is never told to be merely stale or fresh


def test_a_stale_version_is_told_after_what_is_wrong(http_client, ada):
    stale = {"if-match": '"999"'}

    problem(http_client.patch(f"/users/{ada}", json={"age": 37}, headers=stale), 412, "VERSION_MISMATCH")
    problem(http_client.patch(f"/users/{ada}", json={"age": 999}, headers=stale), 422, "VALIDATION_FAILED")
    problem(http_client.delete(f"/users/{ada}?x=1", headers=stale), 422, "VALIDATION_FAILED")
    problem(http_client.patch(f"/users/{NOBODY}", json={"age": 37}, headers=stale), 404, "NOT_FOUND")


def test_what_is_still_the_same_is_told_after_what_is_wrong(http_client, ada):
    fresh = {"if-none-match": "*"}

    unchanged = http_client.get(f"/users/{ada}", headers=fresh)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert {"etag", "vary", "cache-control"} <= unchanged.headers.keys()
    assert not {"content-type", "content-length"} & unchanged.headers.keys()
    problem(http_client.get(f"/users/{ada}?x=1", headers=fresh), 422, "VALIDATION_FAILED")
    problem(http_client.get(f"/users/{NOBODY}", headers=fresh), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/users?limit=1&sort=-created_at", "/groups", "/users/{id}/groups"])
def test_a_list_is_sent_again_only_when_it_has_changed(http_client, path):
    user = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()
    path = path.format(id=user["id"])
    first = http_client.get(path)

    again = http_client.get(path, headers={"if-none-match": f'"x", W/{first.headers["etag"]}'})
    http_client.patch(f"/users/{user['id']}", json={"age": 37})
    group = http_client.post("/groups", json={"name": f"For {path}"}).json()
    http_client.put(f"/groups/{group['id']}/members/{user['id']}")
    changed = http_client.get(path, headers={"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("method, header", [("PATCH", "If-Match"), ("GET", "If-None-Match")])
def test_a_header_has_its_bounds(http_client, ada, method, header):
    answers = [
        http_client.request(method, f"/users/{ada}", json={}, headers={header: "x" * size}) for size in (1000, 1001)
    ]

    assert answers[0].status_code in (200, 412)
    assert [field_error["parameter"] for field_error in problem(answers[1], 422, "VALIDATION_FAILED")["errors"]] == [
        header
    ]


# Who may, and what is our own fault


def test_a_credential_that_proves_nothing_is_told_what_would(http_client):
    answer = http_client.get("/users", headers={"authorization": "Bearer x"})

    problem(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert http_client.get("/users").is_success


def test_a_page_of_another_site_is_not_served(http_client):
    problem(http_client.get("/users", headers={"origin": "https://example.org"}), 403, "FORBIDDEN")

    assert http_client.get("/users", headers={"origin": "http://127.0.0.1:8000"}).is_success


def test_what_nobody_foresaw_is_a_fixed_sentence_and_the_cause_is_in_the_log(http_client, monkeypatch, caplog):
    async def broken(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(http_client.app.state.directory, "read", broken)
    with caplog.at_level(logging.ERROR):
        told = problem(http_client.get("/users"), 500, "INTERNAL")

    assert "swordfish" not in json.dumps(told)
    assert told["request_id"] in caplog.text
    assert "swordfish" in caplog.text


def test_what_may_work_later_says_when(http_client, monkeypatch):
    async def busy(*_: object) -> None:
        raise Overloaded("too many requests wait")

    monkeypatch.setattr(http_client.app.state.directory, "read", busy)
    answer = http_client.get("/users")

    problem(answer, 503, "OVERLOADED")
    assert int(answer.headers["retry-after"]) > 0


# The words


def kinds(kind: type[DirectoryError]) -> Iterator[type[DirectoryError]]:
    """Each kind of error that is told to anybody: what is only a branch of the tree never is."""
    if "code" in vars(kind) and kind is not ServiceUnavailable:
        yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith(("schema.engine", "api.rest")):
            yield from kinds(child)


@pytest.mark.parametrize("kind", list(kinds(DirectoryError)), ids=lambda it: it.code)
def test_every_kind_of_error_has_its_status_and_its_page(http_client, kind):
    pages = {page.code: (page.title, page.status) for page in problem_types()}

    assert pages[kind.code] == (kind.title, problem_details.status_of(kind))
    assert http_client.get(problem_details.problem_type(kind.code)).status_code == 200


def test_every_page_has_words_for_what_it_means_and_what_to_do(http_client):
    for problem in problem_types():
        page = http_client.get(problem_details.problem_type(problem.code))

        assert page.status_code == 200
        assert all(text.endswith(".") for text in (problem.description, problem.remedy))
        assert problem.title in page.text.replace("&#x27;", "'")


def test_an_error_of_ones_own_has_the_status_of_its_kind():
    class Occupied(Conflict):
        """Somebody sits there."""

        code, title = "SEAT_OCCUPIED", "Somebody sits there"

    answer = problem_details.problem_response(Occupied("seat 7 is taken"), "/seats/7", "1")

    assert answer.status == 409
    assert json.loads(answer.body)["type"] == "/problems/seat-occupied"
