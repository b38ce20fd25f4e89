"""Errors of the REST API are problem documents (RFC 9457) with the right status and headers.

Each refused request is tested beside the most similar one that is accepted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Scope

from api.app import create_app
from api.http import problem_details
from api.middleware.request_middleware import MAX_URL_LENGTH
from api.pages.problems import problem_types
from api.settings import read_settings
from schema.engine.errors import Conflict, DirectoryError, Overloaded, ServiceUnavailable
from schema.engine.model.policy import Actor
from schema.migrations.commands import migrate
from tests.fixtures.in_process import in_process_app

JSON = {"content-type": "application/json"}
UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
LIMIT = 256 * 1024


@pytest.fixture(scope="module")
def http_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("problems") / "tandem.db"
    migrate(str(path))
    app = in_process_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as opened:
        yield opened


@pytest.fixture(scope="module")
def ada(http_client: TestClient) -> str:
    return str(http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()["id"])


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of a response, after checking its members and the headers."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    document: dict[str, Any] = response.json()
    assert document.keys() == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"/problems/{code.lower().replace('_', '-')}"
    assert document["request_id"] == response.headers["x-request-id"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    return document


# Paths and methods


@pytest.mark.parametrize(
    "path", ["/nothing", "/users/x/y", "/groups/a/members/b/c", "/api/users", "/health/x", "/.env"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE"])
@pytest.mark.slow
def test_an_unknown_path_is_not_found(http_client, method, path):
    document = problem(http_client.request(method, path), 404, "NOT_FOUND")

    assert document["instance"] == path


@pytest.mark.parametrize("path", ["/users/", "/users/{id}/", "/groups/", "/docs/"])
def test_a_trailing_slash_is_not_found_and_the_right_path_is_suggested(http_client, ada, path):
    document = problem(http_client.get(path.format(id=ada)), 404, "NOT_FOUND")

    assert f"did you mean {path.format(id=ada).rstrip('/')}?" in document["detail"]
    assert http_client.get(path.format(id=ada).rstrip("/")).status_code == 200


@pytest.mark.parametrize("path", ["/a b", "/ä/ö", "/%00", '/"<x>', "/%zz", "/x|y"])
def test_the_instance_is_a_uri_reference(http_client, path):
    document = problem(http_client.get(path), 404, "NOT_FOUND")

    assert document["instance"].isascii()
    assert not set(document["instance"]) & set(' "<>|')


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
def test_allow_lists_the_methods_of_a_path(http_client, ada, path, allowed):
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
def test_pages_and_health_checks_list_their_methods(http_client, path):
    refused = http_client.post(path)

    problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/users", "/users/{id}", "/users/{id}/groups", "/nothing", "/users?nonsense=1"])
def test_head_equals_get_without_the_body(http_client, ada, path):
    get_response, head_response = http_client.get(path.format(id=ada)), http_client.head(path.format(id=ada))

    assert head_response.content == b""
    assert head_response.status_code == get_response.status_code
    assert _fixed_headers(head_response) == _fixed_headers(get_response)


def _fixed_headers(response: Any) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in ("x-request-id", "date")}


def test_a_url_has_at_most_8_kib(http_client):
    fits = "/users?" + "x" * (MAX_URL_LENGTH - len("/users?") + 1)

    assert http_client.get(fits).status_code == 422
    problem(http_client.get(f"{fits}x"), 414, "URI_TOO_LONG")


@pytest.mark.parametrize("query", ["first_name=%ff", "first_name=%c3", "x=%ed%a0%80"])
def test_a_query_string_must_be_utf_8(http_client, query):
    problem(http_client.get(f"/users?{query}"), 400, "BAD_REQUEST")


def test_a_repeated_single_valued_parameter_is_a_bad_request(http_client):
    document = problem(http_client.get("/users?limit=1&limit=1"), 400, "BAD_REQUEST")

    assert [error["parameter"] for error in document["errors"]] == ["limit"]


def test_an_unknown_parameter_is_reported_with_the_known_ones(http_client, ada):
    document = problem(http_client.get("/users?agee=3&first_name=Ada&%00=1"), 422, "VALIDATION_FAILED")

    assert [error["parameter"] for error in document["errors"]] == ["agee", "\x00"]
    assert "age__gte" in document["errors"][0]["message"]
    problem(http_client.get(f"/users/{ada}?fields=age"), 422, "VALIDATION_FAILED")


# Media types


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "application/*", "text/html, */*;q=0.1", "TEXT/*,application/JSON;q=1"]
)
def test_the_response_is_json_where_accept_allows_it(http_client, accept):
    assert http_client.get("/users", headers={"accept": accept}).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "application/json;q=0", "*/*;q=0", "x", "application/json;q=0, */*"]
)
def test_other_media_types_are_not_acceptable(http_client, accept):
    document = problem(http_client.get("/users", headers={"accept": accept}), 406, "NOT_ACCEPTABLE")

    assert "application/json" in document["detail"]


@pytest.mark.parametrize(
    "media",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_a_body_is_accepted_as_json_in_utf_8(http_client, media):
    assert http_client.post("/greetings", content=b'{"name": "\xc3\x85"}', headers={"content-type": media}).is_success


MEDIA_TYPES = ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]


@pytest.mark.parametrize("media", [*MEDIA_TYPES, "application/json; charset=latin-1"])
@pytest.mark.parametrize(
    "method, path, header, accepted",
    [
        ("POST", "/users", "accept-post", "application/json"),
        ("POST", "/users/{id}/deactivate", "accept-post", "application/json"),
        ("PATCH", "/users/{id}", "accept-patch", "application/merge-patch+json, application/json"),
        ("PUT", "/groups/{id}/members/{id}", "accept", "application/json"),
    ],
)
def test_a_body_of_another_media_type_is_refused(http_client, ada, method, path, header, accepted, media):
    response = http_client.request(method, path.format(id=ada), content=b"{}", headers={"content-type": media})

    problem(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers[header] == accepted


def test_a_patch_has_either_of_two_media_types(http_client, ada):
    for media in ("application/json", "application/merge-patch+json"):
        assert http_client.patch(f"/users/{ada}", content=b"{}", headers={"content-type": media}).is_success


def test_a_body_has_at_most_256_kib(http_client):
    fits = json.dumps({"first_name": "Ada", "age": 36}).encode().ljust(LIMIT)

    assert http_client.post("/users", content=fits, headers=JSON).status_code == 201
    problem(http_client.post("/users", content=fits + b" ", headers=JSON), 413, "PAYLOAD_TOO_LARGE")
    problem(http_client.post("/users", content=iter([fits, b" "]), headers=JSON), 413, "PAYLOAD_TOO_LARGE")


# Invalid bodies


@pytest.mark.parametrize(
    "body, pointers",
    [
        ({}, {"/first_name", "/age"}),
        ({"first_name": "Ada", "age": 36, "a/b~c": 1}, {"/a~1b~0c"}),
        ({"first_name": "Ada", "age": 36, "": 1}, {"/"}),
        ({"first_name": 1, "age": "x", "id": UNKNOWN_ID}, {"/first_name", "/age", "/id"}),
    ],
)
def test_a_field_error_points_into_the_body(http_client, body, pointers):
    document = problem(http_client.post("/users", json=body), 422, "VALIDATION_FAILED")

    assert {error["pointer"] for error in document["errors"]} == pointers
    assert all(error["message"] and error["code"] for error in document["errors"])


def test_at_most_a_hundred_field_errors_are_listed(http_client):
    document = problem(
        http_client.post("/users", json={f"x{number}": 1 for number in range(150)}), 422, "VALIDATION_FAILED"
    )

    assert len(document["errors"]) == 100
    assert len(document["detail"]) <= 4000


# The order of checks: an invalid request is never reported as stale or not modified


def test_validation_and_not_found_come_before_a_version_mismatch(http_client, ada):
    stale = {"if-match": '"999"'}

    problem(http_client.patch(f"/users/{ada}", json={"age": 37}, headers=stale), 412, "VERSION_MISMATCH")
    problem(http_client.patch(f"/users/{ada}", json={"age": 999}, headers=stale), 422, "VALIDATION_FAILED")
    problem(http_client.delete(f"/users/{ada}?x=1", headers=stale), 422, "VALIDATION_FAILED")
    problem(http_client.patch(f"/users/{UNKNOWN_ID}", json={"age": 37}, headers=stale), 404, "NOT_FOUND")


def test_validation_and_not_found_come_before_not_modified(http_client, ada):
    fresh = {"if-none-match": "*"}

    unchanged = http_client.get(f"/users/{ada}", headers=fresh)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert {"etag", "vary", "cache-control"} <= unchanged.headers.keys()
    assert not {"content-type", "content-length"} & unchanged.headers.keys()
    problem(http_client.get(f"/users/{ada}?x=1", headers=fresh), 422, "VALIDATION_FAILED")
    problem(http_client.get(f"/users/{UNKNOWN_ID}", headers=fresh), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/users?limit=1&sort=-created_at", "/groups", "/users/{id}/groups"])
def test_a_list_is_not_modified_until_it_changes(http_client, path):
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
def test_a_header_has_a_maximum_length(http_client, ada, method, header):
    responses = [
        http_client.request(method, f"/users/{ada}", json={}, headers={header: "x" * size}) for size in (1000, 1001)
    ]

    assert responses[0].status_code in (200, 412)
    assert [error["parameter"] for error in problem(responses[1], 422, "VALIDATION_FAILED")["errors"]] == [header]


# Credentials and server errors


def test_an_invalid_credential_gets_a_challenge(http_client):
    response = http_client.get("/users", headers={"authorization": "Bearer x"})

    problem(response, 401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert http_client.get("/users").is_success


def test_a_page_of_another_site_is_forbidden(http_client):
    problem(http_client.get("/users", headers={"origin": "https://example.org"}), 403, "FORBIDDEN")

    assert http_client.get("/users", headers={"origin": "http://127.0.0.1:8000"}).is_success


def failing_client(error: Exception) -> TestClient:
    """Return a client of a service in which every operation raises this error. Its database is never opened."""

    async def authenticate(scope: Scope) -> Actor:
        raise error

    app = create_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///nowhere.db"}), authenticate)
    return TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000))


def test_an_unexpected_error_is_a_fixed_sentence_with_the_cause_in_the_log(caplog):
    http_client = failing_client(RuntimeError("the password is swordfish"))

    with caplog.at_level(logging.ERROR):
        document = problem(http_client.get("/users"), 500, "INTERNAL")

    assert "swordfish" not in json.dumps(document)
    assert document["request_id"] in caplog.text
    assert "swordfish" in caplog.text


def test_an_unavailable_service_sends_retry_after():
    response = failing_client(Overloaded("too many requests wait")).get("/users")

    problem(response, 503, "OVERLOADED")
    assert int(response.headers["retry-after"]) > 0


# Titles and pages


def error_types(error_type: type[DirectoryError]) -> Iterator[type[DirectoryError]]:
    """Yield each error class that a client can receive: inner nodes of the tree without a code are never raised."""
    if "code" in vars(error_type) and error_type is not ServiceUnavailable:
        yield error_type
    for child in error_type.__subclasses__():
        if child.__module__.startswith(("schema.engine", "api.http")):
            yield from error_types(child)


@pytest.mark.parametrize("error_type", list(error_types(DirectoryError)), ids=lambda error_type: error_type.code)
def test_every_error_class_has_a_status_and_a_page(http_client, error_type):
    pages = {page.code: (page.title, page.status) for page in problem_types()}

    assert pages[error_type.code] == (error_type.title, problem_details.status_of(error_type))
    assert http_client.get(problem_details.problem_type(error_type.code)).status_code == 200


@pytest.mark.slow
def test_every_page_has_a_description_and_a_remedy(http_client):
    for problem in problem_types():
        page = http_client.get(problem_details.problem_type(problem.code))

        assert page.status_code == 200
        assert all(text.endswith(".") for text in (problem.description, problem.remedy))
        assert problem.title in page.text.replace("&#x27;", "'")


def test_a_custom_error_inherits_its_status():
    class SeatOccupied(Conflict):
        """The seat is taken."""

        code, title = "SEAT_OCCUPIED", "Seat occupied"

    response = problem_details.problem_response(SeatOccupied("seat 7 is taken"), "/seats/7", "1")

    assert response.status == 409
    assert json.loads(response.body)["type"] == "/problems/seat-occupied"
