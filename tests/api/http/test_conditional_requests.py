"""Conditional requests: If-Match and ifVersion guard changes, If-None-Match saves repeated reads."""

from __future__ import annotations

import contextlib
import re

import pytest

from tests.fixtures.clients import READER, ApiError, user_actor


@pytest.fixture
def ada(http_client):
    """A user at version 2."""
    created = http_client.post("/users", json={"first_name": "Ada", "age": 35}).json()
    return http_client.patch(f"/users/{created['id']}", json={"age": 36}).json()


OPERATIONS = [
    pytest.param(lambda client, id, version: client.update("user", id, if_version=version, age=37), id="update"),
    pytest.param(
        lambda client, id, version: client.update("user", id, if_version=version, age=36), id="update nothing"
    ),
    pytest.param(lambda client, id, version: client.call("deactivate", "user", id, if_version=version), id="call"),
    pytest.param(lambda client, id, version: client.delete("user", id, if_version=version), id="delete"),
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("version", [1, 3, 2147483647])
def test_an_operation_with_a_stale_version_is_refused(client, ada, operation, version):
    with pytest.raises(ApiError, match="VERSION_MISMATCH"):
        operation(client, ada["id"], version)

    assert client.get("user", ada["id"]) == ada


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_with_the_current_version_succeeds(client, ada, operation):
    operation(client, ada["id"], 2)


def test_only_one_of_two_updates_of_a_version_succeeds(client, ada):
    client.update("user", ada["id"], if_version=2, age=40)

    with pytest.raises(ApiError, match="VERSION_MISMATCH"):
        client.update("user", ada["id"], if_version=2, age=50)

    assert client.get("user", ada["id"])["age"] == 40


def test_not_found_and_forbidden_come_before_a_version_mismatch(client, ada):
    reader = client.as_actor(READER)

    with pytest.raises(ApiError, match="FORBIDDEN"):
        reader.update("user", ada["id"], if_version=1, age=37)
    with pytest.raises(ApiError, match="NOT_FOUND"):
        client.update("user", ada["id"][:-1] + "x", if_version=1, age=37)


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
@pytest.mark.parametrize(
    "if_match, status",
    [
        ('"2"', 200),
        ('"2-0a1b2c3d"', 200),
        ('"1", "2"', 200),
        ('"1","2-0a1b2c3d"', 200),
        ("*", 200),
        ('"1"', 412),
        ('"1-0a1b2c3d"', 412),
        ('"3", "1"', 412),
        ('"02"', 412),
        ('"2-"', 412),
        ('"2-0A1B"', 412),
        ('"+2"', 412),
        ("2", 412),
        ('"x"', 412),
        ('""', 412),
        ('W/"2"', 412),
        ('W/"2-0a1b2c3d"', 412),
        ('"1", W/"2"', 412),
        ('W/"1", "2"', 200),
        ('"99999999999999999999"', 412),
    ],
)
def test_if_match_compares_the_version_alone(rest, ada, method, if_match, status):
    path = f"/users/{ada['id']}" + ("/deactivate" if method == "POST" else "")
    body = {} if method == "DELETE" else {"json": {"age": 37} if method == "PATCH" else {}}

    response = rest.http_client.request(method, path, headers={"if-match": if_match}, **body)

    assert response.status_code == (204 if (method, status) == ("DELETE", 200) else status)
    assert (status == 412) == (response.headers.get("content-type") == "application/problem+json")


def tag_of(response):
    """Return the entity tag of a response, which starts with the record's version."""
    tag = response.headers["etag"]
    assert re.fullmatch(r'"[1-9][0-9]*-[0-9a-f]{8}"', tag)
    assert not response.content or response.json()["version"] == int(tag[1:].partition("-")[0])
    return tag


@pytest.mark.slow
def test_the_etag_depends_on_the_visible_fields(rest, ada):
    second_user = rest.create("user", first_name="Other", age=1)
    path = f"/users/{ada['id']}"

    complete = {tag_of(rest.as_actor(actor).send("GET", path)) for actor in (rest.actor, user_actor(ada))}
    public = {tag_of(rest.as_actor(actor).send("GET", path)) for actor in (user_actor(second_user), READER)}

    assert (len(complete), len(public), len(complete | public)) == (1, 1, 2)


def test_every_response_with_a_record_has_its_etag(rest):
    created = rest.send("POST", "/users", json={"first_name": "Ada", "age": 36})
    path = created.headers["location"]

    assert tag_of(created) == tag_of(rest.send("GET", path)) == tag_of(rest.send("HEAD", path))
    assert tag_of(rest.send("PATCH", path, json={"age": 37})) != tag_of(created)
    assert tag_of(rest.send("PATCH", path, json={"age": 37})) == tag_of(rest.send("GET", path))
    assert tag_of(rest.send("POST", f"{path}/deactivate", json={})).startswith('"3-')
    assert tag_of(rest.as_actor(user_actor(created.json())).send("GET", "/me")).startswith('"3-')


def test_the_etag_of_me_differs_between_users(rest):
    """A cache that has the `/me` of one user must not get 304 for another's."""
    first_user, second_user = (rest.create("user", first_name="Ada", age=36) for _ in range(2))
    mine = rest.as_actor(user_actor(first_user)).send("GET", "/me")

    theirs = rest.as_actor(user_actor(second_user)).send("GET", "/me", headers={"if-none-match": mine.headers["etag"]})

    assert (theirs.status_code, theirs.json()["id"]) == (200, second_user["id"])
    assert theirs.headers["cache-control"] == mine.headers["cache-control"] == "no-store"
    assert (
        rest.as_actor(user_actor(first_user)).send("GET", "/me", headers={"if-none-match": tag_of(mine)}).status_code
        == 304
    )


@pytest.mark.slow
def test_different_responses_have_different_etags(rest, ada):
    """Compares records, lists and relations as staff, a reader, the person and another person see them."""
    second_user = rest.create("user", first_name="Ada", age=36)
    group = rest.create("group", name="Readers")
    rest.send("PUT", f"/groups/{group['id']}/members/{ada['id']}")
    bodies: dict[str, set[bytes]] = {}
    records = [f"/users/{ada['id']}", f"/users/{second_user['id']}", f"/groups/{group['id']}", "/users", "/groups"]
    for path in [*records, f"/groups/{group['id']}/members", f"/users/{ada['id']}/groups", "/me"]:
        for actor in (rest.actor, READER, user_actor(ada), user_actor(second_user)):
            with contextlib.suppress(ApiError):  # an actor without a user has no /me
                response = rest.as_actor(actor).send("GET", path)
                bodies.setdefault(response.headers["etag"], set()).add(response.content)

    assert len(bodies) >= 12
    assert [tag for tag, shown in bodies.items() if len(shown) > 1] == []


@pytest.mark.parametrize(
    "if_none_match, status",
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"1", W/{tag}', 304),
        ("*", 304),
        ('"1"', 200),
        ('"2"', 200),
        ('"2-0a1b2c3d"', 200),
        ("2", 200),
        ('"x"', 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_returns_304_for_the_current_etag(rest, ada, method, if_none_match, status):
    path = f"/users/{ada['id']}"
    tag = rest.send("GET", path).headers["etag"]

    response = rest.send(method, path, headers={"if-none-match": if_none_match.format(tag=tag)})

    assert response.status_code == status
    assert response.headers["etag"] == tag
    assert response.headers["vary"] == "Accept, Authorization"
    assert bool(response.content) == ((method, status) == ("GET", 200))


def test_an_etag_of_fewer_fields_is_not_current(rest, ada):
    public = rest.as_actor(READER).send("GET", f"/users/{ada['id']}").headers["etag"]

    response = rest.send("GET", f"/users/{ada['id']}", headers={"if-none-match": public})

    assert response.status_code == 200
    assert response.json()["age"] == 36


def test_if_match_accepts_the_etag_that_a_reader_got(rest, ada):
    public = rest.as_actor(READER).send("GET", f"/users/{ada['id']}").headers["etag"]

    response = rest.send("PATCH", f"/users/{ada['id']}", json={"age": 40}, headers={"if-match": public})

    assert response.json()["version"] == 3
