"""An API key is shown once and kept as a digest; it opens what its role and scopes say, until it is revoked."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.__main__ import app as command_line
from api.app import create_app
from api.auth.authenticator import FIRST_KEY, Authenticator
from api.auth.credential_cache import MAX_REJECTED
from schema.engine.errors import DatabaseUnavailable, InvalidCredential
from schema.engine.operations.directory import Directory
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures import access_table
from tests.fixtures.credentials import Clock, bearer, id_of, key, new_key, production, token

ASKED = [
    pytest.param(lambda http_client, **more: http_client.get("/users", **more), id="rest"),
    pytest.param(
        lambda http_client, **more: http_client.post("/graphql", json={"query": "{ users { totalCount } }"}, **more),
        id="graphql",
    ),
]


@pytest.fixture(scope="module")
def house(template, tmp_path_factory):
    """A database with the small society in it."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("keys") / "tandem.db"))
    access_table.populate(path)
    return path


@pytest.fixture(scope="module")
def http_client(house):
    """The service as it runs in production."""
    with TestClient(create_app(production(house)), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(house):
    return bearer(key(house, "admin"))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("credential_cache", "actors", "tokens"):
        monkeypatch.setattr(f"api.auth.{module}.time", clock)
    return clock


def moment(**ahead):
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refused(answer):
    """Whether an answer is 401, says nothing of why, and asks for a better credential."""
    challenge = answer.headers.get("www-authenticate")
    return (answer.status_code, challenge) == (401, 'Bearer error="invalid_token"') and "not valid" in answer.text


def make(http_client, admin, client, **fields):
    """A key, made at a door: what is shown of it, and the key itself."""
    if client == "rest":
        shown = http_client.post("/keys", json={"name": "one", **fields}, headers=admin).json()
        return shown, shown.pop("secret")
    query = "mutation($input: CreateKeyInput!) { createKey(input: $input) { key { id name role } secret } }"
    given = {"name": "one", **fields, "role": fields["role"].upper()}
    answer = http_client.post("/graphql", json={"query": query, "variables": {"input": given}}, headers=admin)
    payload = answer.json()["data"]["createKey"]
    return payload["key"], payload["secret"]


@pytest.mark.parametrize("client", ["rest", "graphql"])
def test_a_key_is_shown_once_and_then_never_again(http_client, admin, house, client):
    shown, made = make(http_client, admin, client, role="reader")
    secret = made.split("_", 2)[2]

    later = [
        http_client.get(f"/keys/{shown['id']}", headers=admin),
        http_client.get("/keys", headers=admin),
        http_client.patch(f"/keys/{shown['id']}", json={"name": "two"}, headers=admin),
        http_client.post("/graphql", json={"query": "{ keys { nodes { id name } } }"}, headers=admin),
        http_client.post(f"/keys/{shown['id']}/revoke", json={}, headers=admin),
    ]

    assert made.startswith(f"tdm_{shown['id'].replace('-', '')}_")
    assert len(secret) >= 43
    for answer in later:
        assert answer.status_code == 200
        assert secret not in answer.text
        assert hashlib.sha256(secret.encode()).hexdigest() not in answer.text


def test_only_the_digest_of_a_key_is_stored(http_client, admin, house):
    _, made = make(http_client, admin, "rest", role="reader")
    secret = made.split("_", 2)[2].encode()

    with closing(sqlite3.connect(house)) as connection:
        stored = {digest for (digest,) in connection.execute("SELECT digest FROM key")}
    written = b"".join(path.read_bytes() for path in house.parent.glob("tandem.db*"))

    assert hashlib.sha256(secret).hexdigest() in stored
    assert secret not in written


def test_the_response_with_a_new_key_is_not_cacheable(http_client, admin):
    answer = http_client.post("/keys", json={"name": "one", "role": "reader"}, headers=admin)

    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("field", ["digest", "secret", "active", "id"])
def test_server_generated_fields_of_a_key_are_refused(http_client, admin, field):
    for given in ({field: "0" * 64}, {field: None}):
        answer = http_client.post("/keys", json={"name": "one", "role": "admin", **given}, headers=admin)

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")


@pytest.mark.parametrize("field", ["digest", "secret"])
def test_the_digest_of_a_key_cannot_be_read(http_client, admin, field):
    query = f"{{ keys {{ nodes {{ {field} }} }} }}"

    assert http_client.get(f"/keys?{field}=x", headers=admin).status_code == 422
    assert http_client.get(f"/keys?sort={field}", headers=admin).status_code == 422
    assert "errors" in http_client.post("/graphql", json={"query": query}, headers=admin).json()


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("client", ["rest", "graphql"])
def test_a_key_created_through_one_api_is_valid_for_both(http_client, admin, ask, client):
    _, made = make(http_client, admin, client, role="reader")

    assert ask(http_client, headers=bearer(made)).status_code == 200


@pytest.mark.parametrize("role, status", [("reader", 403), ("editor", 403), ("admin", 200)])
def test_keys_are_for_administrators(http_client, house, role, status):
    headers = bearer(key(house, role))

    assert http_client.get("/keys", headers=headers).status_code == status
    assert http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers).status_code in (201, status)
    found = http_client.post("/graphql", json={"query": "{ keys { totalCount } }"}, headers=headers).json()
    assert ("errors" in found) == (status != 200)


def test_a_key_is_no_user(http_client, admin):
    assert http_client.get("/me", headers=admin).status_code == 404


WRONG = {
    "nothing": "",
    "the scheme alone": "Bearer",
    "the scheme and a space": "Bearer ",
    "another scheme": "Basic {key}",
    "no scheme": "{key}",
    "two spaces": "Bearer  {key}",
    "a tab": "Bearer\t{key}",
    "in quotes": 'Bearer "{key}"',
    "a comma behind": "Bearer {key},",
    "twice": "Bearer {key} {key}",
    "twice with a comma": "Bearer {key}, Bearer {key}",
    "as a parameter": "Bearer token={key}",
    "one letter short": "Bearer {short}",
    "one letter more": "Bearer {key}A",
    "padded": "Bearer {key}==",
    "in capitals": "Bearer {upper}",
    "another id": "Bearer tdm_00000000000070008000000000000000_{secret}",
    "an id with hyphens": "Bearer tdm_{id}_{secret}",
    "an id in capitals": "Bearer tdm_{upper_hex}_{secret}",
    "no id": "Bearer tdm__{secret}",
    "no secret": "Bearer tdm_{hex}_",
    "no secret and no underscore": "Bearer tdm_{hex}",
    "the digest for the secret": "Bearer tdm_{hex}_{digest}",
    "another prefix": "Bearer tdx_{hex}_{secret}",
    "the secret alone": "Bearer {secret}",
    "far too long": "Bearer {key}" + "A" * 9000,
    "SQL": "Bearer tdm_{hex}_' OR 1=1 --",
    "not ASCII": "Bearer {key}é",
}


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("wrong", WRONG)
def test_unknown_keys_are_refused(http_client, house, ask, wrong):
    made = key(house, "admin")
    _, hexed, secret = made.split("_", 2)
    words = {"key": made, "short": made[:-1], "upper": made.upper(), "secret": secret, "hex": hexed}
    words |= {"id": id_of(made), "upper_hex": hexed.upper(), "digest": hashlib.sha256(secret.encode()).hexdigest()}
    value = WRONG[wrong].format_map(words)
    assert value != f"Bearer {made}"

    assert refused(ask(http_client, headers={"authorization": value.encode("latin-1")}))


@pytest.mark.parametrize("ask", ASKED)
def test_a_key_with_the_secret_of_another_is_refused(http_client, house, ask):
    one, other = key(house, "admin"), key(house, "admin")

    assert refused(ask(http_client, headers=bearer("_".join((*one.split("_", 2)[:2], other.split("_", 2)[2])))))


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_may_be_spelled_in_any_case(http_client, admin, ask, scheme):
    made = admin["authorization"].removeprefix("Bearer ")

    assert ask(http_client, headers={"Authorization": f"{scheme} {made}"}).status_code == 200


@pytest.mark.parametrize("ask", ASKED)
def test_two_credentials_are_refused(http_client, admin, ask):
    twice = [("authorization", admin["authorization"])] * 2

    assert ask(http_client, headers=twice).status_code == 400


@pytest.mark.parametrize("place", ["?access_token={key}", "?authorization=Bearer%20{key}", "?key={key}"])
def test_a_key_in_a_url_opens_nothing(http_client, admin, place):
    made = admin["authorization"].removeprefix("Bearer ")

    assert http_client.get("/users" + place.format(key=made)).status_code == 401
    assert http_client.get("/users", headers={"cookie": f"authorization={made}"}).status_code == 401


@pytest.mark.parametrize("ask", ASKED)
def test_a_request_without_a_credential_is_told_how_to_send_one(http_client, ask):
    answer = ask(http_client)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


SCOPES = [
    (None, {"read users", "read groups", "write users", "write groups"}),
    ("read", {"read users", "read groups"}),
    ("write", {"read users", "read groups", "write users", "write groups"}),
    ("users:read", {"read users"}),
    ("users:write", {"read users", "write users"}),
    ("users:read groups:write", {"read users", "read groups", "write groups"}),
    ("keys:read", set()),
    ("nonsense:read", set()),
]


@pytest.mark.parametrize("scopes, may", SCOPES)
def test_scopes_limit_a_role(http_client, house, scopes, may):
    headers = bearer(key(house, "editor", scopes=scopes))

    done = set()
    for resource, name in (("users", "first_name"), ("groups", "name")):
        one = {"first_name": "X", "age": 1} if resource == "users" else {"name": f"G {scopes}"}
        listed = http_client.get(f"/{resource}", headers=headers)
        field = f"{{ {resource} {{ totalCount }} }}"
        told = http_client.post("/graphql", json={"query": field}, headers=headers).json()
        made = http_client.post(f"/{resource}", json=one, headers=headers)
        assert (listed.status_code == 200) == ("errors" not in told)
        done |= {f"read {resource}"} if listed.status_code == 200 else set()
        done |= {f"write {resource}"} if made.status_code == 201 else set()
        assert {listed.status_code, made.status_code} <= {200, 201, 403}
        assert name in listed.text or listed.status_code == 403

    assert done == may


def test_scopes_hold_inside_of_records_too(http_client, house):
    ada = access_table.ADA["id"]
    headers = bearer(key(house, "admin", scopes="users:read"))
    queries = {
        f'{{ user(id: "{ada}") {{ id }} }}': True,
        f'{{ node(id: "{ada}") {{ id }} nodes(ids: ["{ada}"]) {{ id }} }}': True,
        f'{{ node(id: "{access_table.ENGINE["id"]}") {{ id }} }}': None,
        f'{{ user(id: "{ada}") {{ groups {{ nodes {{ id }} }} }} }}': False,
        "{ users { nodes { groups { totalCount } } } }": False,
        f'mutation {{ deactivateUser(input: {{id: "{ada}"}}) {{ user {{ id }} }} }}': False,
        f'mutation {{ deleteUser(input: {{id: "{ada}"}}) {{ deletedId }} }}': False,
    }

    for query, allowed in queries.items():
        answer = http_client.post("/graphql", json={"query": query}, headers=headers).json()

        if allowed is None:
            assert answer == {"data": {"node": None}}
        else:
            assert ("errors" not in answer) == allowed, query
    assert http_client.get(f"/users/{ada}/groups", headers=headers).status_code == 403
    assert http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers).status_code == 403


GRANTS = [
    # The credential's scopes, those of the key that it makes or changes, and whether it may.
    (None, None, True),
    ("write", None, True),
    ("write", "users:read", True),
    ("keys:write", None, False),
    ("keys:write", "write", False),
    ("keys:write", "read", False),
    ("keys:write", "users:read", False),
    ("keys:write", "keys:write users:read", False),
    ("keys:write", "xkeys:write", False),
    ("keys:write", "keys:write", True),
    ("keys:write", "keys:read keys:write keys:read keys:read", True),
    ("keys:write users:write", "users:read", True),
    ("keys:write users:read", "users:write", False),
]


@pytest.mark.parametrize("client", ["rest", "graphql"])
@pytest.mark.parametrize("own, given, may", GRANTS)
def test_a_scoped_key_gives_no_wider_scopes_than_its_own(http_client, house, client, own, given, may):
    headers = bearer(key(house, "admin", scopes=own))
    narrow, wide = (id_of(key(house, "reader", scopes=scopes)) for scopes in ("keys:read", given))
    attempts = [
        ("POST", "/keys", {"name": "x", "role": "admin", "scopes": given}),
        ("PATCH", f"/keys/{narrow}", {"scopes": given}),
        ("PATCH", f"/keys/{wide}", {"role": "admin"}),
        ("PATCH", f"/keys/{wide}", {"scopes": own or "read"}),
    ]

    for method, path, data in attempts:
        if client == "rest":
            answer = http_client.request(method, path, json=data, headers=headers)
            done, code = answer.status_code in (200, 201), answer.json().get("code")
        else:
            name, kind = ("createKey", "CreateKeyInput") if method == "POST" else ("updateKey", "UpdateKeyInput")
            query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ key {{ id }} }} }}"
            sent = {**data, **({} if method == "POST" else {"id": path.removeprefix("/keys/")})}
            sent |= {"role": "ADMIN"} if "role" in sent else {}
            body = {"query": query, "variables": {"input": sent}}
            errors = http_client.post("/graphql", json=body, headers=headers).json().get("errors", [])
            done, code = not errors, errors[0]["extensions"]["code"] if errors else None
        assert (done, code) == (may, None if may else "FORBIDDEN"), (method, data)
    assert http_client.post(f"/keys/{wide}/revoke", json={}, headers=headers).status_code == 200


def test_a_scoped_key_makes_no_key_without_scopes_by_saying_nothing(http_client, house):
    headers = bearer(key(house, "admin", scopes="keys:write"))

    answer = http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (403, "/scopes")
    assert "one or more of keys:read keys:write" in answer.text


@pytest.mark.parametrize("scopes", ["", " ", "read,write", "users", "users:all", "READ", "read  write", "*", "read\n"])
def test_an_invalid_scope_is_refused(http_client, admin, scopes):
    answer = http_client.post("/keys", json={"name": "x", "role": "reader", "scopes": scopes}, headers=admin)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/scopes")


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("end", ["revoke", "delete", "PATCH"])
def test_a_key_that_is_taken_away_opens_nothing_at_once(http_client, admin, house, ask, end):
    made = key(house, "reader")
    place, headers = f"/keys/{id_of(made)}", bearer(made)
    assert ask(http_client, headers=headers).status_code == 200

    if end == "revoke":
        assert http_client.post(f"{place}/revoke", json={}, headers=admin).json()["active"] is False
    elif end == "delete":
        assert http_client.delete(place, headers=admin).status_code == 204
    else:
        assert http_client.patch(place, json={"expires_at": moment(days=-1)}, headers=admin).status_code == 200

    assert refused(ask(http_client, headers=headers))


def test_a_key_that_is_revoked_stays_so(http_client, admin):
    shown, made = make(http_client, admin, "rest", role="reader")
    http_client.post(f"/keys/{shown['id']}/revoke", json={}, headers=admin)

    assert http_client.patch(f"/keys/{shown['id']}", json={"active": True}, headers=admin).status_code == 422
    again = http_client.post(f"/keys/{shown['id']}/revoke", json={}, headers=admin)

    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert refused(http_client.get("/users", headers=bearer(made)))


def elsewhere(database, sql, *values):
    """A change that this process is not told of."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(sql, values)
        connection.commit()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE key SET active = 0 WHERE id = ?",
        "DELETE FROM key WHERE id = ?",
        "UPDATE key SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE id = ?",
        f"UPDATE key SET digest = '{'0' * 64}' WHERE id = ?",
    ],
)
def test_a_key_revoked_by_another_process_is_refused_within_five_seconds(http_client, house, clock, sql):
    made = key(house, "reader")
    assert http_client.get("/users", headers=bearer(made)).status_code == 200

    elsewhere(house, sql, id_of(made))
    clock.ahead += 5

    assert refused(http_client.get("/users", headers=bearer(made)))


def test_continuous_requests_do_not_delay_a_revocation(http_client, house, clock):
    made = key(house, "reader")
    assert http_client.get("/users", headers=bearer(made)).status_code == 200
    elsewhere(house, "UPDATE key SET active = 0 WHERE id = ?", id_of(made))

    statuses = []
    for _ in range(10):
        clock.ahead += 0.5
        statuses.append(http_client.get("/users", headers=bearer(made)).status_code)
        time.sleep(0.01)  # the look in the background needs a moment of the loop's

    assert statuses[-1] == 401
    assert statuses[0] == 200


def test_a_role_changed_by_another_process_applies_within_five_seconds(http_client, house, clock):
    made = key(house, "admin")
    assert http_client.get("/keys", headers=bearer(made)).status_code == 200

    elsewhere(house, "UPDATE key SET role = 'reader' WHERE id = ?", id_of(made))
    clock.ahead += 5

    assert http_client.get("/keys", headers=bearer(made)).status_code == 403


def test_a_key_is_valid_until_it_expires(http_client, house, clock):
    made = key(house, "reader", expires_at=moment(seconds=100))

    assert http_client.get("/users", headers=bearer(made)).status_code == 200
    clock.ahead += 99
    assert http_client.get("/users", headers=bearer(made)).status_code == 200
    clock.ahead += 1.1
    assert refused(http_client.get("/users", headers=bearer(made)))


@pytest.fixture
async def watched(house):
    """The door-authenticator over a directory, and the statements that the database is told."""
    said: list[str] = []
    async with Directory(str(house), on_statement=said.append) as directory:
        yield Authenticator(production(house)), directory, said


class App:
    """As much of an application as a door-authenticator looks at."""

    def __init__(self, directory):
        self.state = type("State", (), {"directory": directory})()


def shown(credential, directory):
    return {
        "type": "http",
        "headers": [(b"host", b"x"), (b"authorization", f"Bearer {credential}".encode())],
        "app": App(directory),
    }


async def test_concurrent_requests_share_one_verification(watched):
    authenticator, directory, said = watched
    made = await new_key(directory, "reader")
    said.clear()

    found = await asyncio.gather(*(authenticator(shown(made, directory)) for _ in range(1000)))

    assert {actor.roles for actor in found} == {frozenset({"reader"})}
    assert len([sql for sql in said if "SELECT" in sql]) == 1


async def test_a_key_seen_a_moment_ago_costs_no_look(watched, clock):
    authenticator, directory, said = watched
    made = await new_key(directory, "reader", rate=70)
    scope = shown(made, directory)
    actor = await authenticator(scope)
    said.clear()

    clock.ahead += 1.9
    again = [await authenticator(shown(made, directory)) for _ in range(100)]

    assert all(it is actor for it in again)
    assert said == []
    assert actor.name == scope["credential"].name == f"key:{id_of(made)}"
    assert scope["credential"].rate == 70


async def test_an_invalid_key_is_verified_once_a_second(watched, clock):
    authenticator, directory, said = watched
    wrong = (await new_key(directory, "reader"))[:-1] + "-"
    said.clear()

    for _ in range(50):
        with pytest.raises(InvalidCredential):
            await authenticator(shown(wrong, directory))

    assert len([sql for sql in said if "SELECT" in sql]) == 1


async def test_wrong_credentials_fill_no_memory(watched):
    authenticator, directory, _ = watched
    for number in range(MAX_REJECTED + 100):
        with pytest.raises(InvalidCredential):
            await authenticator(shown(f"nonsense{number}", directory))

    assert len(authenticator._credentials._rejected) == MAX_REJECTED
    assert not authenticator._credentials._verifications


async def test_no_secret_stays_in_memory(watched):
    authenticator, directory, _ = watched
    made = await new_key(directory, "reader")
    mark = token(sub="a mark of its own")
    for credential in (made, mark):
        await authenticator(shown(credential, directory))
    secrets = [made.split("_", 2)[2], mark.rpartition(".")[2]]

    found = [it for it in reachable(authenticator._credentials) if any(secret in it for secret in secrets)]

    assert found == []


def reachable(root):
    """All text that can be reached from something."""
    seen, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or callable(one) or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, str | bytes):
            yield one.decode("latin-1") if isinstance(one, bytes) else one
        else:
            waiting.extend(gc.get_referents(one))


async def test_with_the_database_down_a_known_key_goes_on_for_a_moment_and_is_never_called_wrong(house, clock):
    directory = await Directory(str(house)).open()
    authenticator = Authenticator(production(house))
    made, other = await new_key(directory, "reader"), await new_key(directory, "reader")
    actor = await authenticator(shown(made, directory))
    await directory.close()

    clock.ahead += 4
    assert await authenticator(shown(made, directory)) is actor
    await asyncio.sleep(0)

    with pytest.raises(DatabaseUnavailable):
        await authenticator(shown(other, directory))
    clock.ahead += 1
    with pytest.raises(DatabaseUnavailable):
        await authenticator(shown(made, directory))


async def test_a_cancelled_request_does_not_cancel_a_shared_verification(watched):
    authenticator, directory, _ = watched
    made = await new_key(directory, "reader")
    impatient = asyncio.create_task(authenticator(shown(made, directory)))
    patient = asyncio.create_task(authenticator(shown(made, directory)))
    await asyncio.sleep(0)

    impatient.cancel()

    assert (await patient).roles == {"reader"}


@pytest.mark.sqlite
def test_production_without_a_key_says_how_to_make_one(database, caplog):
    with (
        caplog.at_level(logging.WARNING),
        TestClient(create_app(production(database)), base_url=BASE_URL) as http_client,
    ):
        assert http_client.get("/users").status_code == 401
        assert http_client.get("/health/ready").status_code == 200

    assert FIRST_KEY in caplog.text
    made = invoke(database, *FIRST_KEY.removeprefix("python -m api ").split(), "--quiet").stdout.strip()
    caplog.clear()
    with (
        caplog.at_level(logging.WARNING),
        TestClient(create_app(production(database)), base_url=BASE_URL) as http_client,
    ):
        assert http_client.get("/keys", headers=bearer(made)).status_code == 200
    assert FIRST_KEY not in caplog.text


def invoke(database, *arguments):
    environment = {"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{database}"}
    return CliRunner(env=environment).invoke(command_line, arguments)


def test_the_command_line_makes_lists_and_revokes_keys(http_client, admin, house):
    wish = ["--role", "editor", "--name", "night shift", "--expires", "90d", "--scope", "users:read", "--scope", "read"]
    quiet = invoke(house, "keys", "create", *wish, "--rate", "60", "--quiet")
    made = quiet.stdout.removesuffix("\n")

    row = http_client.get(f"/keys/{id_of(made)}", headers=admin).json()
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert {name: row[name] for name in ("name", "role", "scopes", "rate", "active")} == {
        "name": "night shift", "role": "editor", "scopes": "users:read read", "rate": 60, "active": True,
    }  # fmt: skip
    assert moment(days=89) < row["expires_at"] < moment(days=91)
    assert http_client.get("/users", headers=bearer(made)).status_code == 200

    listed = invoke(house, "keys", "list")
    assert f"{row['id']}  night shift" in listed.stdout
    assert made.split("_", 2)[2] not in listed.stdout

    assert invoke(house, "keys", "revoke", row["id"]).exit_code == 0
    assert http_client.get(f"/keys/{row['id']}", headers=admin).json()["active"] is False


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["create", "--role", "boss", "--name", "x"], "role:"),
        (["create", "--role", "admin", "--name", " "], "name:"),
        (["create", "--role", "admin", "--name", "x", "--scope", "all"], "scopes:"),
        (["create", "--role", "admin", "--name", "x", "--rate", "0"], "rate:"),
        (["create", "--role", "admin", "--name", "x", "--expires", "soon"], "such as 12h, 90d or 4w"),
        (["revoke", "nobody"], "there is no key nobody"),
    ],
)
def test_invalid_options_of_keys_are_reported(house, arguments, said):
    answer = invoke(house, "keys", *arguments)

    assert answer.exit_code in (1, 2)
    assert said in answer.stderr
    assert not answer.stdout


@pytest.mark.sqlite
def test_the_command_line_lists_more_keys_than_a_page_holds(database):
    async def many():
        async with Directory(str(database)) as directory:
            await asyncio.gather(*(new_key(directory, "reader", name=f"number {number}") for number in range(205)))

    asyncio.run(many())

    assert invoke(database, "keys", "list").stdout.count("number ") == 205


def test_keys_go_into_no_file(house, tmp_path):
    answer = invoke(house, "export", f"{tmp_path}/all/")

    assert answer.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["groups.csv", "memberships.csv", "users.csv"]
    assert invoke(house, "export", f"{tmp_path}/keys.csv").exit_code == 2


def test_the_openapi_document_describes_a_new_key(http_client):
    document = http_client.get("/openapi.json").json()
    made = document["paths"]["/keys"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]

    created = document["components"]["schemas"]["KeyCreated"]
    assert made == {"$ref": "#/components/schemas/KeyCreated"}
    assert created["properties"]["secret"]["readOnly"] is True
    assert "secret" in created["required"]
    assert "secret" not in document["components"]["schemas"]["Key"]["properties"]
    assert "digest" not in orjson.dumps(document).decode()


INTROSPECTION = [
    "{ __schema { types { name } } }",
    '{ __type(name: "User") { name } }',
    "{ ...f } fragment f on Query { a: __schema { __typename } }",
]


@pytest.mark.parametrize("query", INTROSPECTION)
@pytest.mark.parametrize("role", ["reader", "editor", "admin"])
def test_in_production_the_schema_is_shown_to_administrators_alone(http_client, house, query, role):
    answer = http_client.post("/graphql", json={"query": query}, headers=bearer(key(house, role))).json()

    if role == "admin":
        assert answer["data"]
    else:
        assert "data" not in answer
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "scopes, shown",
    [("users:read", False), ("keys:write metrics:read", False), ("schema:read", True), ("read", True), ("write", True)],
)
@pytest.mark.parametrize("query", [*INTROSPECTION, "{ usrs { nodes { id } } }"])
def test_scopes_limit_an_administrators_introspection(http_client, house, query, scopes, shown):
    headers = bearer(key(house, "admin", scopes=scopes))

    answer = http_client.post("/graphql", json={"query": query}, headers=headers)

    if "usrs" in query:
        assert ("Did you mean" in answer.text) == shown
    else:
        assert ("data" in answer.json()) == shown
    with http_client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        told = socket.receive_json()
    assert (told["type"] == "next" or "Did you mean" in str(told)) == shown


@pytest.mark.parametrize("query", ["{ user { id } }", "{ usrs { nodes { id } } }", "{ users(firs: 1) { totalCount } }"])
@pytest.mark.parametrize("role", ["editor", "admin"])
def test_in_production_names_are_suggested_to_administrators_alone(http_client, house, query, role):
    answer = http_client.post("/graphql", json={"query": query}, headers=bearer(key(house, role)))

    assert answer.json()["errors"]
    if role != "admin":
        assert "Did you mean" not in answer.text
    elif "usrs" in query or "firs" in query:
        assert "Did you mean" in answer.text
