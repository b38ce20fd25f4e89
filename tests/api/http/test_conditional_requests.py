"""Nobody overwrites what they have not read, and nobody reads what they have: If-Match, If-None-Match, ifVersion."""

from __future__ import annotations

import contextlib
import re

import pytest

from tests.fixtures.clients import READER, Refused, person


@pytest.fixture
def ada(http_client):
    """A user at version 2."""
    made = http_client.post("/users", json={"first_name": "Ada", "age": 35}).json()
    return http_client.patch(f"/users/{made['id']}", json={"age": 36}).json()


DEEDS = [
    pytest.param(lambda client, id, version: client.update("user", id, if_version=version, age=37), id="update"),
    pytest.param(
        lambda client, id, version: client.update("user", id, if_version=version, age=36), id="update nothing"
    ),
    pytest.param(lambda client, id, version: client.call("deactivate", "user", id, if_version=version), id="call"),
    pytest.param(lambda client, id, version: client.delete("user", id, if_version=version), id="delete"),
]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("version", [1, 3, 2147483647])
def test_a_stale_change_is_refused_and_changes_nothing(client, ada, deed, version):
    with pytest.raises(Refused, match="VERSION_MISMATCH"):
        deed(client, ada["id"], version)

    assert client.get("user", ada["id"]) == ada


@pytest.mark.parametrize("deed", DEEDS)
def test_a_fresh_change_is_made(client, ada, deed):
    deed(client, ada["id"], 2)


def test_of_two_changes_to_one_version_one_is_made(client, ada):
    client.update("user", ada["id"], if_version=2, age=40)

    with pytest.raises(Refused, match="VERSION_MISMATCH"):
        client.update("user", ada["id"], if_version=2, age=50)

    assert client.get("user", ada["id"])["age"] == 40


def test_what_is_not_there_or_not_allowed_outranks_a_stale_version(client, ada):
    reader = client.by(READER)

    with pytest.raises(Refused, match="FORBIDDEN"):
        reader.update("user", ada["id"], if_version=1, age=37)
    with pytest.raises(Refused, match="NOT_FOUND"):
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

    answer = rest.http_client.request(method, path, headers={"if-match": if_match}, **body)

    assert answer.status_code == (204 if (method, status) == ("DELETE", 200) else status)
    assert (status == 412) == (answer.headers.get("content-type") == "application/problem+json")


def tag_of(answer):
    """The tag of a record's answer, which begins with the record's version."""
    tag = answer.headers["etag"]
    assert re.fullmatch(r'"[1-9][0-9]*-[0-9a-f]{8}"', tag)
    assert not answer.content or answer.json()["version"] == int(tag[1:].partition("-")[0])
    return tag


def test_the_etag_tells_who_sees_all_from_who_does_not(rest, ada):
    other = rest.create("user", first_name="Other", age=1)
    path = f"/users/{ada['id']}"

    whole = {tag_of(rest.by(actor).send("GET", path)) for actor in (rest.actor, person(ada))}
    public = {tag_of(rest.by(actor).send("GET", path)) for actor in (person(other), READER)}

    assert (len(whole), len(public), len(whole | public)) == (1, 1, 2)


def test_every_answer_with_a_record_carries_its_etag(rest):
    made = rest.send("POST", "/users", json={"first_name": "Ada", "age": 36})
    path = made.headers["location"]

    assert tag_of(made) == tag_of(rest.send("GET", path)) == tag_of(rest.send("HEAD", path))
    assert tag_of(rest.send("PATCH", path, json={"age": 37})) != tag_of(made)
    assert tag_of(rest.send("PATCH", path, json={"age": 37})) == tag_of(rest.send("GET", path))
    assert tag_of(rest.send("POST", f"{path}/deactivate", json={})).startswith('"3-')
    assert tag_of(rest.by(person(made.json())).send("GET", "/me")).startswith('"3-')


def test_a_tag_of_one_person_is_none_of_another(rest):
    """Whoever keeps the `/me` of one person must not be told that another's is the same."""
    one, other = (rest.create("user", first_name="Ada", age=36) for _ in range(2))
    mine = rest.by(person(one)).send("GET", "/me")

    theirs = rest.by(person(other)).send("GET", "/me", headers={"if-none-match": mine.headers["etag"]})

    assert (theirs.status_code, theirs.json()["id"]) == (200, other["id"])
    assert theirs.headers["cache-control"] == mine.headers["cache-control"] == "no-store"
    assert rest.by(person(one)).send("GET", "/me", headers={"if-none-match": tag_of(mine)}).status_code == 304


def test_no_tag_is_shared_by_answers_that_differ(rest, ada):
    """Records, lists and relations, as staff, a reader, the person and another see them."""
    other = rest.create("user", first_name="Ada", age=36)
    group = rest.create("group", name="Readers")
    rest.send("PUT", f"/groups/{group['id']}/members/{ada['id']}")
    bodies: dict[str, set[bytes]] = {}
    records = [f"/users/{ada['id']}", f"/users/{other['id']}", f"/groups/{group['id']}", "/users", "/groups"]
    for path in [*records, f"/groups/{group['id']}/members", f"/users/{ada['id']}/groups", "/me"]:
        for actor in (rest.actor, READER, person(ada), person(other)):
            with contextlib.suppress(Refused):  # whoever is no person has no /me
                answer = rest.by(actor).send("GET", path)
                bodies.setdefault(answer.headers["etag"], set()).add(answer.content)

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
def test_what_the_caller_has_is_not_sent_again(rest, ada, method, if_none_match, status):
    path = f"/users/{ada['id']}"
    tag = rest.send("GET", path).headers["etag"]

    answer = rest.send(method, path, headers={"if-none-match": if_none_match.format(tag=tag)})

    assert answer.status_code == status
    assert answer.headers["etag"] == tag
    assert answer.headers["vary"] == "Accept, Authorization"
    assert bool(answer.content) == ((method, status) == ("GET", 200))


def test_a_caller_who_sees_more_by_now_is_sent_all_of_it(rest, ada):
    public = rest.by(READER).send("GET", f"/users/{ada['id']}").headers["etag"]

    answer = rest.send("GET", f"/users/{ada['id']}", headers={"if-none-match": public})

    assert answer.status_code == 200
    assert answer.json()["age"] == 36


def test_a_tag_that_a_reader_was_given_will_do_for_a_change(rest, ada):
    public = rest.by(READER).send("GET", f"/users/{ada['id']}").headers["etag"]

    answer = rest.send("PATCH", f"/users/{ada['id']}", json={"age": 40}, headers={"if-match": public})

    assert answer.json()["version"] == 3
