"""An API key is shown once and stored as a digest; it allows what its role and scopes say, until it is revoked."""

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

LIST_USERS = [
    pytest.param(lambda http_client, **more: http_client.get("/users", **more), id="rest"),
    pytest.param(
        lambda http_client, **more: http_client.post("/graphql", json={"query": "{ users { totalCount } }"}, **more),
        id="graphql",
    ),
]


@pytest.fixture(scope="module")
def shared_database(template, tmp_path_factory):
    """A database with the people and groups of the access table."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("keys") / "tandem.db"))
    access_table.populate(path)
    return path


@pytest.fixture(scope="module")
def http_client(shared_database):
    """The service in production."""
    with TestClient(create_app(production(shared_database)), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(shared_database):
    return bearer(key(shared_database, "admin"))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("credential_cache", "actors", "tokens"):
        monkeypatch.setattr(f"api.auth.{module}.time", clock)
    return clock


def moment(**ahead):
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def refused(response):
    """Whether a response is a 401 that gives no reason and challenges with `invalid_token`."""
    challenge = response.headers.get("www-authenticate")
    return (response.status_code, challenge) == (401, 'Bearer error="invalid_token"') and "not valid" in response.text


def create_key(http_client, admin, client, **fields):
    """Create a key through an API; return the created record and the credential."""
    if client == "rest":
        created = http_client.post("/keys", json={"name": "first", **fields}, headers=admin).json()
        return created, created.pop("secret")
    query = "mutation($input: CreateKeyInput!) { createKey(input: $input) { key { id name role } secret } }"
    variables = {"input": {"name": "first", **fields, "role": fields["role"].upper()}}
    response = http_client.post("/graphql", json={"query": query, "variables": variables}, headers=admin)
    payload = response.json()["data"]["createKey"]
    return payload["key"], payload["secret"]


@pytest.mark.parametrize("client", ["rest", "graphql"])
@pytest.mark.slow
def test_a_key_is_shown_once_and_then_never_again(http_client, admin, shared_database, client):
    created, credential = create_key(http_client, admin, client, role="reader")
    secret = credential.split("_", 2)[2]

    later = [
        http_client.get(f"/keys/{created['id']}", headers=admin),
        http_client.get("/keys", headers=admin),
        http_client.patch(f"/keys/{created['id']}", json={"name": "second"}, headers=admin),
        http_client.post("/graphql", json={"query": "{ keys { nodes { id name } } }"}, headers=admin),
        http_client.post(f"/keys/{created['id']}/revoke", json={}, headers=admin),
    ]

    assert credential.startswith(f"tdm_{created['id'].replace('-', '')}_")
    assert len(secret) >= 43
    for response in later:
        assert response.status_code == 200
        assert secret not in response.text
        assert hashlib.sha256(secret.encode()).hexdigest() not in response.text


def test_only_the_digest_of_a_key_is_stored(http_client, admin, shared_database):
    _, credential = create_key(http_client, admin, "rest", role="reader")
    secret = credential.split("_", 2)[2].encode()

    with closing(sqlite3.connect(shared_database)) as connection:
        digests = {digest for (digest,) in connection.execute("SELECT digest FROM key")}
    contents = b"".join(path.read_bytes() for path in shared_database.parent.glob("tandem.db*"))

    assert hashlib.sha256(secret).hexdigest() in digests
    assert secret not in contents


def test_the_response_with_a_new_key_is_not_cacheable(http_client, admin):
    response = http_client.post("/keys", json={"name": "first", "role": "reader"}, headers=admin)

    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("field", ["digest", "secret", "active", "id"])
def test_server_generated_fields_of_a_key_are_refused(http_client, admin, field):
    for value in ("0" * 64, None):
        data = {"name": "first", "role": "admin", field: value}
        response = http_client.post("/keys", json=data, headers=admin)

        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, f"/{field}")


@pytest.mark.parametrize("field", ["digest", "secret"])
def test_the_digest_of_a_key_cannot_be_read(http_client, admin, field):
    query = f"{{ keys {{ nodes {{ {field} }} }} }}"

    assert http_client.get(f"/keys?{field}=x", headers=admin).status_code == 422
    assert http_client.get(f"/keys?sort={field}", headers=admin).status_code == 422
    assert "errors" in http_client.post("/graphql", json={"query": query}, headers=admin).json()


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("client", ["rest", "graphql"])
def test_a_key_created_through_one_api_is_valid_for_both(http_client, admin, list_users, client):
    _, credential = create_key(http_client, admin, client, role="reader")

    assert list_users(http_client, headers=bearer(credential)).status_code == 200


@pytest.mark.parametrize("role, status", [("reader", 403), ("editor", 403), ("admin", 200)])
def test_keys_are_for_administrators(http_client, shared_database, role, status):
    headers = bearer(key(shared_database, role))

    assert http_client.get("/keys", headers=headers).status_code == status
    assert http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers).status_code in (201, status)
    result = http_client.post("/graphql", json={"query": "{ keys { totalCount } }"}, headers=headers).json()
    assert ("errors" in result) == (status != 200)


def test_a_key_belongs_to_no_user(http_client, admin):
    assert http_client.get("/me", headers=admin).status_code == 404


INVALID_HEADERS = {
    "an empty header": "",
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
    "a letter too short": "Bearer {short}",
    "a letter too long": "Bearer {key}A",
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


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("case", INVALID_HEADERS)
def test_invalid_keys_are_refused(http_client, shared_database, list_users, case):
    credential = key(shared_database, "admin")
    _, hex_id, secret = credential.split("_", 2)
    parts = {"key": credential, "short": credential[:-1], "upper": credential.upper(), "secret": secret, "hex": hex_id}
    digest = hashlib.sha256(secret.encode()).hexdigest()
    parts |= {"id": id_of(credential), "upper_hex": hex_id.upper(), "digest": digest}
    value = INVALID_HEADERS[case].format_map(parts)
    assert value != f"Bearer {credential}"

    assert refused(list_users(http_client, headers={"authorization": value.encode("latin-1")}))


@pytest.mark.parametrize("list_users", LIST_USERS)
def test_a_key_with_the_secret_of_another_is_refused(http_client, shared_database, list_users):
    first, second = key(shared_database, "admin"), key(shared_database, "admin")
    mixed = "_".join((*first.split("_", 2)[:2], second.split("_", 2)[2]))

    assert refused(list_users(http_client, headers=bearer(mixed)))


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_case_insensitive(http_client, admin, list_users, scheme):
    credential = admin["authorization"].removeprefix("Bearer ")

    assert list_users(http_client, headers={"Authorization": f"{scheme} {credential}"}).status_code == 200


@pytest.mark.parametrize("list_users", LIST_USERS)
def test_two_credentials_are_refused(http_client, admin, list_users):
    twice = [("authorization", admin["authorization"])] * 2

    assert list_users(http_client, headers=twice).status_code == 400


@pytest.mark.parametrize("query", ["?access_token={key}", "?authorization=Bearer%20{key}", "?key={key}"])
def test_a_key_in_a_url_or_a_cookie_is_not_read(http_client, admin, query):
    credential = admin["authorization"].removeprefix("Bearer ")

    assert http_client.get("/users" + query.format(key=credential)).status_code == 401
    assert http_client.get("/users", headers={"cookie": f"authorization={credential}"}).status_code == 401


@pytest.mark.parametrize("list_users", LIST_USERS)
def test_the_response_to_a_request_without_a_credential_names_the_scheme(http_client, list_users):
    response = list_users(http_client)

    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


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


@pytest.mark.parametrize("scopes, expected", SCOPES)
def test_scopes_limit_a_role(http_client, shared_database, scopes, expected):
    headers = bearer(key(shared_database, "editor", scopes=scopes))

    allowed = set()
    for resource, name in (("users", "first_name"), ("groups", "name")):
        fields = {"first_name": "X", "age": 1} if resource == "users" else {"name": f"G {scopes}"}
        listed = http_client.get(f"/{resource}", headers=headers)
        query = f"{{ {resource} {{ totalCount }} }}"
        result = http_client.post("/graphql", json={"query": query}, headers=headers).json()
        created = http_client.post(f"/{resource}", json=fields, headers=headers)
        assert (listed.status_code == 200) == ("errors" not in result)
        allowed |= {f"read {resource}"} if listed.status_code == 200 else set()
        allowed |= {f"write {resource}"} if created.status_code == 201 else set()
        assert {listed.status_code, created.status_code} <= {200, 201, 403}
        assert name in listed.text or listed.status_code == 403

    assert allowed == expected


def test_scopes_apply_to_nested_records(http_client, shared_database):
    ada = access_table.ADA["id"]
    headers = bearer(key(shared_database, "admin", scopes="users:read"))
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
        result = http_client.post("/graphql", json={"query": query}, headers=headers).json()

        if allowed is None:
            assert result == {"data": {"node": None}}
        else:
            assert ("errors" not in result) == allowed, query
    assert http_client.get(f"/users/{ada}/groups", headers=headers).status_code == 403
    assert http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers).status_code == 403


GRANTS = [
    # The scopes of the credential, those of the key that it creates or changes, and whether that is allowed.
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
@pytest.mark.parametrize("own_scopes, new_scopes, allowed", GRANTS)
def test_a_scoped_key_grants_only_scopes_among_its_own(
    http_client, shared_database, client, own_scopes, new_scopes, allowed
):
    headers = bearer(key(shared_database, "admin", scopes=own_scopes))
    narrow, broad = (id_of(key(shared_database, "reader", scopes=scopes)) for scopes in ("keys:read", new_scopes))
    attempts = [
        ("POST", "/keys", {"name": "x", "role": "admin", "scopes": new_scopes}),
        ("PATCH", f"/keys/{narrow}", {"scopes": new_scopes}),
        ("PATCH", f"/keys/{broad}", {"role": "admin"}),
        ("PATCH", f"/keys/{broad}", {"scopes": own_scopes or "read"}),
    ]

    for method, path, data in attempts:
        if client == "rest":
            response = http_client.request(method, path, json=data, headers=headers)
            succeeded, code = response.status_code in (200, 201), response.json().get("code")
        else:
            name, type = ("createKey", "CreateKeyInput") if method == "POST" else ("updateKey", "UpdateKeyInput")
            query = f"mutation($input: {type}!) {{ {name}(input: $input) {{ key {{ id }} }} }}"
            fields = {**data, **({} if method == "POST" else {"id": path.removeprefix("/keys/")})}
            fields |= {"role": "ADMIN"} if "role" in fields else {}
            body = {"query": query, "variables": {"input": fields}}
            errors = http_client.post("/graphql", json=body, headers=headers).json().get("errors", [])
            succeeded, code = not errors, errors[0]["extensions"]["code"] if errors else None
        assert (succeeded, code) == (allowed, None if allowed else "FORBIDDEN"), (method, data)
    assert http_client.post(f"/keys/{broad}/revoke", json={}, headers=headers).status_code == 200


def test_a_scoped_key_cannot_create_a_key_without_scopes(http_client, shared_database):
    headers = bearer(key(shared_database, "admin", scopes="keys:write"))

    response = http_client.post("/keys", json={"name": "x", "role": "admin"}, headers=headers)

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (403, "/scopes")
    assert "must be one or more of keys:read, keys:write" in response.text


@pytest.mark.parametrize("scopes", ["", " ", "read,write", "users", "users:all", "READ", "read  write", "*", "read\n"])
def test_an_invalid_scope_is_refused(http_client, admin, scopes):
    response = http_client.post("/keys", json={"name": "x", "role": "reader", "scopes": scopes}, headers=admin)

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/scopes")


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("end", ["revoke", "delete", "PATCH"])
def test_a_revoked_deleted_or_expired_key_is_refused_at_once(http_client, admin, shared_database, list_users, end):
    credential = key(shared_database, "reader")
    path, headers = f"/keys/{id_of(credential)}", bearer(credential)
    assert list_users(http_client, headers=headers).status_code == 200

    if end == "revoke":
        assert http_client.post(f"{path}/revoke", json={}, headers=admin).json()["active"] is False
    elif end == "delete":
        assert http_client.delete(path, headers=admin).status_code == 204
    else:
        assert http_client.patch(path, json={"expires_at": moment(days=-1)}, headers=admin).status_code == 200

    assert refused(list_users(http_client, headers=headers))


def test_a_revoked_key_cannot_be_activated(http_client, admin):
    created, credential = create_key(http_client, admin, "rest", role="reader")
    http_client.post(f"/keys/{created['id']}/revoke", json={}, headers=admin)

    assert http_client.patch(f"/keys/{created['id']}", json={"active": True}, headers=admin).status_code == 422
    again = http_client.post(f"/keys/{created['id']}/revoke", json={}, headers=admin)

    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert refused(http_client.get("/users", headers=bearer(credential)))


def execute_elsewhere(database, sql, *values):
    """Change the database as another process would."""
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
def test_a_key_revoked_by_another_process_is_refused_within_five_seconds(http_client, shared_database, clock, sql):
    credential = key(shared_database, "reader")
    assert http_client.get("/users", headers=bearer(credential)).status_code == 200

    execute_elsewhere(shared_database, sql, id_of(credential))
    clock.ahead += 5

    assert refused(http_client.get("/users", headers=bearer(credential)))


@pytest.mark.slow
def test_continuous_requests_do_not_delay_a_revocation(http_client, shared_database, clock):
    credential = key(shared_database, "reader")
    assert http_client.get("/users", headers=bearer(credential)).status_code == 200
    execute_elsewhere(shared_database, "UPDATE key SET active = 0 WHERE id = ?", id_of(credential))

    statuses = []
    for _ in range(10):
        clock.ahead += 0.5
        statuses.append(http_client.get("/users", headers=bearer(credential)).status_code)
        time.sleep(0.01)  # for the verification in the background

    assert statuses[-1] == 401
    assert statuses[0] == 200


def test_a_role_changed_by_another_process_applies_within_five_seconds(http_client, shared_database, clock):
    credential = key(shared_database, "admin")
    assert http_client.get("/keys", headers=bearer(credential)).status_code == 200

    execute_elsewhere(shared_database, "UPDATE key SET role = 'reader' WHERE id = ?", id_of(credential))
    clock.ahead += 5

    assert http_client.get("/keys", headers=bearer(credential)).status_code == 403


def test_a_key_is_valid_until_it_expires(http_client, shared_database, clock):
    credential = key(shared_database, "reader", expires_at=moment(seconds=100))

    assert http_client.get("/users", headers=bearer(credential)).status_code == 200
    clock.ahead += 99
    assert http_client.get("/users", headers=bearer(credential)).status_code == 200
    clock.ahead += 1.1
    assert refused(http_client.get("/users", headers=bearer(credential)))


@pytest.fixture
async def traced_authenticator(shared_database):
    """An authenticator, its directory, and the statements that the database receives."""
    statements: list[str] = []
    async with Directory(str(shared_database), on_statement=statements.append) as directory:
        yield Authenticator(production(shared_database)), directory, statements


class App:
    """The part of an application that an authenticator uses."""

    def __init__(self, directory):
        self.state = type("State", (), {"directory": directory})()


def http_scope(credential, directory):
    return {
        "type": "http",
        "headers": [(b"host", b"x"), (b"authorization", f"Bearer {credential}".encode())],
        "app": App(directory),
    }


async def test_concurrent_requests_share_one_verification(traced_authenticator):
    authenticator, directory, statements = traced_authenticator
    credential = await new_key(directory, "reader")
    statements.clear()

    actors = await asyncio.gather(*(authenticator(http_scope(credential, directory)) for _ in range(1000)))

    assert {actor.roles for actor in actors} == {frozenset({"reader"})}
    assert len([sql for sql in statements if "SELECT" in sql]) == 1


async def test_a_recently_verified_key_costs_no_query(traced_authenticator, clock):
    authenticator, directory, statements = traced_authenticator
    credential = await new_key(directory, "reader", rate=70)
    scope = http_scope(credential, directory)
    actor = await authenticator(scope)
    statements.clear()

    clock.ahead += 1.9
    repeated = [await authenticator(http_scope(credential, directory)) for _ in range(100)]

    assert all(other is actor for other in repeated)
    assert statements == []
    assert actor.name == scope["credential"].name == f"key:{id_of(credential)}"
    assert scope["credential"].rate == 70


async def test_an_invalid_key_is_verified_once_a_second(traced_authenticator, clock):
    authenticator, directory, statements = traced_authenticator
    wrong = (await new_key(directory, "reader"))[:-1] + "-"
    statements.clear()

    for _ in range(50):
        with pytest.raises(InvalidCredential):
            await authenticator(http_scope(wrong, directory))

    assert len([sql for sql in statements if "SELECT" in sql]) == 1


@pytest.mark.slow
async def test_the_cache_of_invalid_credentials_is_bounded(traced_authenticator):
    authenticator, directory, _ = traced_authenticator
    for number in range(MAX_REJECTED + 100):
        with pytest.raises(InvalidCredential):
            await authenticator(http_scope(f"nonsense{number}", directory))

    digests = [text for text in reachable_texts(vars(authenticator)) if len(text) == 32]
    assert len(digests) == MAX_REJECTED


async def test_no_secret_stays_in_memory(traced_authenticator):
    authenticator, directory, _ = traced_authenticator
    api_key, jwt = await new_key(directory, "reader"), token(sub="a subject of its own")
    for credential in (api_key, jwt):
        await authenticator(http_scope(credential, directory))
    secrets = [api_key.split("_", 2)[2], jwt.rpartition(".")[2]]

    texts = list(reachable_texts(vars(authenticator)))

    assert f"key:{id_of(api_key)}" in texts  # the cache was searched
    assert [text for text in texts if any(secret in text for secret in secrets)] == []


def reachable_texts(root):
    """Yield all text that can be reached from an object."""
    seen, pending = set(), [root]
    while pending:
        value = pending.pop()
        if id(value) in seen or callable(value) or isinstance(value, type):
            continue
        seen.add(id(value))
        if isinstance(value, str | bytes):
            yield value.decode("latin-1") if isinstance(value, bytes) else value
        else:
            pending.extend(gc.get_referents(value))


async def test_without_the_database_a_cached_key_is_valid_for_seconds_and_then_unavailable(shared_database, clock):
    directory = await Directory(str(shared_database)).open()
    authenticator = Authenticator(production(shared_database))
    credential, uncached = await new_key(directory, "reader"), await new_key(directory, "reader")
    actor = await authenticator(http_scope(credential, directory))
    await directory.close()

    clock.ahead += 4
    assert await authenticator(http_scope(credential, directory)) is actor
    await asyncio.sleep(0)

    with pytest.raises(DatabaseUnavailable):
        await authenticator(http_scope(uncached, directory))
    clock.ahead += 1
    with pytest.raises(DatabaseUnavailable):
        await authenticator(http_scope(credential, directory))


async def test_a_cancelled_request_does_not_cancel_a_shared_verification(traced_authenticator):
    authenticator, directory, _ = traced_authenticator
    credential = await new_key(directory, "reader")
    cancelled = asyncio.create_task(authenticator(http_scope(credential, directory)))
    waiting = asyncio.create_task(authenticator(http_scope(credential, directory)))
    await asyncio.sleep(0)

    cancelled.cancel()

    assert (await waiting).roles == {"reader"}


@pytest.mark.sqlite
@pytest.mark.slow
def test_production_without_a_key_logs_how_to_create_one(database, caplog):
    with (
        caplog.at_level(logging.WARNING),
        TestClient(create_app(production(database)), base_url=BASE_URL) as http_client,
    ):
        assert http_client.get("/users").status_code == 401
        assert http_client.get("/health/ready").status_code == 200

    assert FIRST_KEY in caplog.text
    credential = invoke(database, *FIRST_KEY.removeprefix("python -m api ").split(), "--quiet").stdout.strip()
    caplog.clear()
    with (
        caplog.at_level(logging.WARNING),
        TestClient(create_app(production(database)), base_url=BASE_URL) as http_client,
    ):
        assert http_client.get("/keys", headers=bearer(credential)).status_code == 200
    assert FIRST_KEY not in caplog.text


def invoke(database, *arguments):
    environment = {"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{database}"}
    return CliRunner(env=environment).invoke(command_line, arguments)


@pytest.mark.slow
def test_the_command_line_creates_lists_and_revokes_keys(http_client, admin, shared_database):
    scopes = ["--scope", "users:read", "--scope", "read"]
    options = ["--role", "editor", "--name", "night shift", "--expires", "90d", "--rate", "60", *scopes]
    result = invoke(shared_database, "keys", "create", *options, "--quiet")
    credential = result.stdout.removesuffix("\n")

    row = http_client.get(f"/keys/{id_of(credential)}", headers=admin).json()
    assert (result.exit_code, result.stderr) == (0, "")
    assert {name: row[name] for name in ("name", "role", "scopes", "rate", "active")} == {
        "name": "night shift", "role": "editor", "scopes": "users:read read", "rate": 60, "active": True,
    }  # fmt: skip
    assert moment(days=89) < row["expires_at"] < moment(days=91)
    assert http_client.get("/users", headers=bearer(credential)).status_code == 200

    listed = invoke(shared_database, "keys", "list")
    assert f"{row['id']}  night shift" in listed.stdout
    assert credential.split("_", 2)[2] not in listed.stdout

    assert invoke(shared_database, "keys", "revoke", row["id"]).exit_code == 0
    assert http_client.get(f"/keys/{row['id']}", headers=admin).json()["active"] is False


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["create", "--role", "boss", "--name", "x"], "role:"),
        (["create", "--role", "admin", "--name", " "], "name:"),
        (["create", "--role", "admin", "--name", "x", "--scope", "all"], "scopes:"),
        (["create", "--role", "admin", "--name", "x", "--rate", "0"], "rate:"),
        (["create", "--role", "admin", "--name", "x", "--expires", "soon"], "such as 12h, 90d or 4w"),
        (["revoke", "nobody"], "there is no key nobody"),
    ],
)
def test_invalid_options_of_keys_are_reported(shared_database, arguments, message):
    result = invoke(shared_database, "keys", *arguments)

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert not result.stdout


@pytest.mark.sqlite
@pytest.mark.slow
def test_the_command_line_lists_more_keys_than_a_page_holds(database):
    async def create_keys():
        async with Directory(str(database)) as directory:
            await asyncio.gather(*(new_key(directory, "reader", name=f"number {number}") for number in range(205)))

    asyncio.run(create_keys())

    assert invoke(database, "keys", "list").stdout.count("number ") == 205


def test_keys_are_not_exported(shared_database, tmp_path):
    result = invoke(shared_database, "export", f"{tmp_path}/all/")

    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["groups.csv", "memberships.csv", "users.csv"]
    assert invoke(shared_database, "export", f"{tmp_path}/keys.csv").exit_code == 2


def test_the_openapi_document_describes_a_new_key(http_client):
    document = http_client.get("/openapi.json").json()
    schema = document["paths"]["/keys"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]

    created = document["components"]["schemas"]["KeyCreated"]
    assert schema == {"$ref": "#/components/schemas/KeyCreated"}
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
def test_in_production_only_administrators_introspect_the_schema(http_client, shared_database, query, role):
    result = http_client.post("/graphql", json={"query": query}, headers=bearer(key(shared_database, role))).json()

    if role == "admin":
        assert result["data"]
    else:
        assert "data" not in result
        assert result["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "scopes, allowed",
    [("users:read", False), ("keys:write metrics:read", False), ("schema:read", True), ("read", True), ("write", True)],
)
@pytest.mark.parametrize("query", [*INTROSPECTION, "{ usrs { nodes { id } } }"])
def test_scopes_limit_an_administrators_introspection(http_client, shared_database, query, scopes, allowed):
    headers = bearer(key(shared_database, "admin", scopes=scopes))

    response = http_client.post("/graphql", json={"query": query}, headers=headers)

    if "usrs" in query:
        assert ("Did you mean" in response.text) == allowed
    else:
        assert ("data" in response.json()) == allowed
    with http_client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json() == {"type": "connection_ack"}
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        message = socket.receive_json()
    assert (message["type"] == "next" or "Did you mean" in str(message)) == allowed


@pytest.mark.parametrize("query", ["{ user { id } }", "{ usrs { nodes { id } } }", "{ users(firs: 1) { totalCount } }"])
@pytest.mark.parametrize("role", ["editor", "admin"])
def test_in_production_names_are_suggested_to_administrators_only(http_client, shared_database, query, role):
    response = http_client.post("/graphql", json={"query": query}, headers=bearer(key(shared_database, role)))

    assert response.json()["errors"]
    if role != "admin":
        assert "Did you mean" not in response.text
    elif "usrs" in query or "firs" in query:
        assert "Did you mean" in response.text
