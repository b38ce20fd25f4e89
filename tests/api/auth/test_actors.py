"""A change of a key or a user in this process applies at once to credentials in use, also on open WebSockets."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from api.app import create_app
from api.auth.actors import KeyClaim, TokenClaim
from api.auth.authenticator import Authenticator
from api.auth.credential_cache import CredentialCache
from schema.engine.errors import InvalidCredential
from schema.engine.operations import records
from schema.engine.operations.directory import Directory
from schema.engine.query.selection import Scalar, Selection
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures.clients import USER
from tests.fixtures.credentials import ADMIN, KEY, bearer, id_of, new_key, production, token
from tests.security.test_keys import http_scope, moment, reachable_texts

ID = Selection((("id", Scalar("id")),))
MINE = {"query": "{ me { id } }"}


@pytest.fixture
def http_client(database):
    with TestClient(create_app(production(database)), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture
def admin():
    return bearer(token(sub="ext-Zed", roles=["admin"]))


@contextmanager
def socket(http_client, headers):
    """Open a WebSocket; yield a function that queries the id of `me` on it."""
    with http_client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as opened:
        opened.send_json({"type": "connection_init"})
        assert opened.receive_json() == {"type": "connection_ack"}

        def me():
            opened.send_json({"type": "subscribe", "id": "1", "payload": MINE})
            message = opened.receive_json()
            assert opened.receive_json() == {"id": "1", "type": "complete"}
            user = message["payload"]["data"]["me"]
            return user and user["id"]

        yield me


@pytest.mark.slow
def test_a_token_matches_a_user_from_creation_to_deletion(http_client, admin):
    headers = bearer(token(sub="ext-New"))
    with socket(http_client, headers) as me:
        assert (http_client.get("/me", headers=headers).status_code, me()) == (404, None)

        user = http_client.post(
            "/users", json={"first_name": "N", "age": 1, "external_id": "ext-New"}, headers=admin
        ).json()
        path = f"/users/{user['id']}"
        assert (http_client.get("/me", headers=headers).json()["id"], me()) == (user["id"], user["id"])

        http_client.patch(path, json={"external_id": None}, headers=admin).raise_for_status()
        assert (http_client.get("/me", headers=headers).status_code, me()) == (404, None)
        http_client.patch(path, json={"external_id": "ext-New"}, headers=admin).raise_for_status()
        assert (http_client.get("/me", headers=headers).status_code, me()) == (200, user["id"])

        http_client.delete(path, headers=admin).raise_for_status()
        assert (http_client.get("/me", headers=headers).status_code, me()) == (404, None)


@pytest.mark.slow
def test_a_reactivated_user_is_authenticated(http_client, admin):
    headers = bearer(token(sub="ext-New"))
    user = http_client.post(
        "/users", json={"first_name": "N", "age": 1, "external_id": "ext-New"}, headers=admin
    ).json()
    path = f"/users/{user['id']}"

    for _ in range(3):
        with socket(http_client, headers) as me:
            assert (http_client.get("/me", headers=headers).status_code, me()) == (200, user["id"])
            http_client.post(f"{path}/deactivate", json={}, headers=admin).raise_for_status()
            assert http_client.get("/me", headers=headers).status_code == 401
            with pytest.raises(WebSocketDisconnect) as closed:
                me()
            assert closed.value.code == 4403
        http_client.post(f"{path}/activate", json={}, headers=admin).raise_for_status()
    http_client.post(f"{path}/deactivate", json={}, headers=admin).raise_for_status()
    assert http_client.get("/me", headers=headers).status_code == 401
    http_client.delete(path, headers=admin).raise_for_status()
    assert http_client.get("/me", headers=headers).status_code == 404


@pytest.mark.slow
def test_an_idle_socket_of_a_deactivated_user_is_closed(http_client, admin):
    headers = bearer(token(sub="ext-New"))
    user = http_client.post(
        "/users", json={"first_name": "N", "age": 1, "external_id": "ext-New"}, headers=admin
    ).json()
    with http_client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"], headers=headers) as opened:
        opened.send_json({"type": "connection_init"})
        opened.receive_json()

        http_client.post(f"/users/{user['id']}/deactivate", json={}, headers=admin).raise_for_status()

        with pytest.raises(WebSocketDisconnect) as closed:
            opened.receive_json()
        assert closed.value.code == 4403


@pytest.mark.slow
def test_changes_apply_to_tokens_whose_subject_is_an_id(database):
    admin = bearer(token(sub="ext-Zed", roles=["admin"]))
    app = create_app(production(database, TANDEM_JWT_SUBJECT="id"))
    with TestClient(app, base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        user = http_client.post("/users", json={"first_name": "N", "age": 1}, headers=admin).json()
        headers, path = bearer(token(sub=user["id"])), f"/users/{user['id']}"
        statuses = []
        for action in ("activate", "deactivate", "activate"):
            http_client.post(f"{path}/{action}", json={}, headers=admin).raise_for_status()
            statuses.append(http_client.get("/me", headers=headers).status_code)
        http_client.delete(path, headers=admin)
        assert [*statuses, http_client.get("/me", headers=headers).status_code] == [200, 401, 200, 404]


@pytest.mark.slow
def test_changes_of_a_key_apply_at_once(http_client, admin):
    created = http_client.post("/keys", json={"name": "x", "role": "reader"}, headers=admin).json()
    path, headers = f"/keys/{created['id']}", bearer(created["secret"])

    assert http_client.get("/users", headers=headers).status_code == 200
    for expires, status in ((moment(days=-1), 401), (moment(days=1), 200), (moment(days=-1), 401), (None, 200)):
        http_client.patch(path, json={"expires_at": expires}, headers=admin).raise_for_status()
        assert http_client.get("/users", headers=headers).status_code == status
    http_client.patch(path, json={"role": "admin"}, headers=admin).raise_for_status()
    assert http_client.get("/keys", headers=headers).status_code == 200
    http_client.post(f"{path}/revoke", json={}, headers=admin).raise_for_status()
    assert http_client.get("/users", headers=headers).status_code == 401


class HeldDirectory(Directory):
    """A directory whose next read, while `holding`, returns only after `go` is set."""

    holding = False

    def __init__(self, location):
        super().__init__(location)
        self.read_first, self.go = asyncio.Event(), asyncio.Event()

    async def read(self, queries, reader=None):
        rows = await super().read(queries, reader)
        if self.holding:
            self.holding = False
            self.read_first.set()
            await self.go.wait()
        return rows


@pytest.fixture
async def held(database):
    async with HeldDirectory(str(database)) as directory:
        yield directory


async def begin_verification(held, credential):
    """Return an authenticator, and the task of a verification that has read but not cached its result."""
    authenticator = Authenticator(production(Path("/nowhere")))
    await authenticator.start(held)
    held.holding = True
    first = asyncio.create_task(authenticator(http_scope(credential, held)))
    await held.read_first.wait()
    return authenticator, first


async def create_user(held, **fields):
    unit_of_work = held.unit_of_work(ADMIN)
    id, _ = await records.create(unit_of_work, USER, {"first_name": "N", "age": 1, **fields}, ID)
    return id


async def call_action(held, resource, action, id):
    await records.call_action(held.unit_of_work(ADMIN), resource, resource.actions[action], id, {}, ID)


async def test_a_verification_in_progress_does_not_cache_a_deactivated_user(held):
    id, credential = await create_user(held, external_id="ext-New"), token(sub="ext-New")
    authenticator, first = await begin_verification(held, credential)

    await call_action(held, USER, "deactivate", id)

    with pytest.raises(InvalidCredential):
        await authenticator(http_scope(credential, held))
    held.go.set()
    assert (await first).id == id
    with pytest.raises(InvalidCredential):
        await authenticator(http_scope(credential, held))


async def test_a_verification_in_progress_does_not_reject_a_reactivated_user(held):
    id, credential = await create_user(held, external_id="ext-New"), token(sub="ext-New")
    await call_action(held, USER, "deactivate", id)
    authenticator, first = await begin_verification(held, credential)

    await call_action(held, USER, "activate", id)

    assert (await authenticator(http_scope(credential, held))).id == id
    held.go.set()
    with pytest.raises(InvalidCredential):
        await first
    assert (await authenticator(http_scope(credential, held))).id == id


async def test_a_verification_in_progress_does_not_miss_a_new_user(held):
    credential = token(sub="ext-New", roles=["reader"])
    authenticator, first = await begin_verification(held, credential)

    id = await create_user(held, external_id="ext-New")

    assert (await authenticator(http_scope(credential, held))).id == id
    held.go.set()
    assert (await first).id is None
    assert (await authenticator(http_scope(credential, held))).id == id


async def test_a_verification_in_progress_does_not_cache_a_revoked_key(held):
    credential = await new_key(held, "reader")
    authenticator, first = await begin_verification(held, credential)

    await call_action(held, KEY, "revoke", id_of(credential))
    held.go.set()

    assert (await first).roles == {"reader"}
    with pytest.raises(InvalidCredential):
        await authenticator(http_scope(credential, held))


async def test_unrelated_changes_cause_no_second_verification(held):
    credential = token(sub="ext-Zed", roles=["reader"])
    authenticator, first = await begin_verification(held, credential)
    await create_user(held)
    await create_user(held, last_name="Zed")
    held.go.set()
    actor = await first

    await create_user(held)

    # Another verification would create another actor.
    assert await authenticator(http_scope(credential, held)) is actor


async def test_the_credential_cache_is_bounded(directory):
    verified = []

    async def claim(header):
        verified.append(header)
        number = header.decode().removeprefix("valid ")
        if number == header.decode():
            return KeyClaim(f"00000000-0000-7000-8000-{number.removeprefix('invalid '):0>12}", "x")
        return TokenClaim(f"ext-{number}", frozenset(), time.time() + 1000)

    async def authenticate(header):
        with suppress(InvalidCredential):
            await cache.authenticate(header, directory)

    cache = CredentialCache(claim, "external_id", max_entries=20, max_rejected=20)
    valid, invalid = ([f"{name} {number}".encode() for number in range(60)] for name in ("valid", "invalid"))
    for header in (*valid, *invalid):
        await authenticate(header)
    verified.clear()

    # Of each, the newest are cached, and nothing that is held grows with the number of the others.
    assert [cache.name_of(header) for header in valid] == [None] * 40 + [
        f"token:ext-{number}" for number in range(40, 60)
    ]
    for header in invalid[40:]:
        await authenticate(header)
    assert verified == []
    assert len([text for text in reachable_texts(vars(cache)) if len(text) == 32]) == 40
