"""Overload is refused fast and in order, and the service recovers by itself.

Requests beyond the concurrency limit are refused at once, and slow clients count only while their request runs.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from api.app import create_app
from api.http.concurrency import request_limit
from schema.engine.concurrency import ConcurrencyLimit, SimpleBorrower
from schema.engine.errors import Overloaded
from tests.conftest import settings_for
from tests.fixtures.clients import ADMIN

BODY = b'{"first_name": "Ada", "age": 36}'


class BlockedService:
    """The service with two slots, whose requests run until `proceed` is set."""

    def __init__(self, database):
        self.proceed = asyncio.Event()
        self.running = 0
        self.app = create_app(settings_for(database, TANDEM_RUNNING="2"), self.authenticate)

    async def authenticate(self, scope):
        self.running += 1
        await self.proceed.wait()
        self.running -= 1
        return ADMIN

    async def request(self, path="/users", method="GET", body=b"", arrives=None, taken=None):
        """Status, headers and body of a response. The request's body arrives once `arrives` is set."""
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 50000), "method": method, "state": {},
            "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }  # fmt: skip
        messages = []

        async def receive():
            if arrives is not None:
                await arrives.wait()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            messages.append(message)
            if taken is not None:
                await taken.wait()

        await self.app(scope, receive, send)
        return (
            messages[0]["status"],
            dict(messages[0]["headers"]),
            b"".join(response.get("body", b"") for response in messages),
        )

    def start_requests(self, number, *args, **more):
        return [asyncio.create_task(self.request(*args, **more)) for _ in range(number)]


@asynccontextmanager
async def opened(database):
    service = BlockedService(database)
    async with service.app.router.lifespan_context(service.app):
        yield service
        service.proceed.set()


async def run_pending_callbacks():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_beyond_those_that_run_and_wait_are_refused_at_once(database):
    async with opened(database) as service:
        waiting = service.start_requests(6)
        await run_pending_callbacks()

        status, headers, body = await asyncio.wait_for(service.request(), 0.2)

        assert service.running == 2
        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        assert int(headers[b"retry-after"]) > 0
        assert headers[b"x-request-id"]
        service.proceed.set()
        assert [response[0] for response in await asyncio.gather(*waiting)] == [200] * 6


@pytest.mark.slow
async def test_a_request_that_waits_too_long_is_refused(database):
    async with opened(database) as service:
        waiting = service.start_requests(2)
        await run_pending_callbacks()

        status, _, body = await asyncio.wait_for(service.request(), 5)

        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        service.proceed.set()
        assert [response[0] for response in await asyncio.gather(*waiting)] == [200, 200]


async def test_an_overload_is_a_graphql_error_at_graphql(database):
    async with opened(database) as service:
        service.start_requests(6)
        await run_pending_callbacks()

        status, headers, body = await asyncio.wait_for(service.request("/graphql"), 5)

        assert status == 503
        assert json.loads(body)["errors"][0]["extensions"]["code"] == "OVERLOADED"
        assert int(headers[b"retry-after"]) > 0


@pytest.mark.slow
async def test_a_request_takes_a_slot_when_its_body_is_complete(database):
    async with opened(database) as service:
        limit = service.app.state.concurrency_limit
        writing = service.start_requests(1, "/users", "POST", BODY)
        await run_pending_callbacks()
        taken = [SimpleBorrower("another"), SimpleBorrower("another")]
        for borrower in taken:
            await limit.acquire(borrower, 1)
        service.proceed.set()

        status, _, body = await asyncio.wait_for(writing[0], 5)

        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        for borrower in taken:
            limit.release(borrower)
        assert (await service.request("/users", "POST", BODY))[0] == 201


@pytest.mark.parametrize("path, status", [("/health", 200), ("/health/live", 200), ("/health/ready", 200)])
async def test_health_checks_are_answered_at_the_concurrency_limit(database, path, status):
    async with opened(database) as service:
        service.start_requests(7)
        await run_pending_callbacks()

        assert (await asyncio.wait_for(service.request(path), 5))[0] == status


async def test_after_an_overload_all_places_are_free(database):
    async with opened(database) as service:
        requests = service.start_requests(50)
        await run_pending_callbacks()
        service.proceed.set()

        statuses = sorted(response[0] for response in await asyncio.gather(*requests))

        assert statuses == [200] * 6 + [503] * 44
        assert [response[0] for response in await asyncio.gather(*service.start_requests(6))] == [200] * 6
        limit = service.app.state.concurrency_limit
        assert (limit.available, limit.waiting) == (2, 0)


@pytest.mark.slow
async def test_a_client_that_sends_slowly_takes_no_place(database):
    async with opened(database) as service:
        service.proceed.set()
        arrives = asyncio.Event()
        slow = service.start_requests(20, "/users", "POST", BODY, arrives=arrives)
        await run_pending_callbacks()

        assert (await service.request())[0] == 200
        assert service.app.state.concurrency_limit.available == 2
        arrives.set()
        assert {response[0] for response in await asyncio.gather(*slow)} <= {201, 503}
        assert service.app.state.concurrency_limit.available == 2


@pytest.mark.slow
async def test_a_client_that_reads_slowly_takes_no_place(database):
    async with opened(database) as service:
        service.proceed.set()
        taken = asyncio.Event()
        slow = []
        for _ in range(20):
            slow += service.start_requests(1, taken=taken)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(15):
            while service.app.state.concurrency_limit.available < 2:  # noqa: ASYNC110 there is no event to wait for
                await asyncio.sleep(0.01)

        assert (await service.request())[0] == 200
        taken.set()
        assert {response[0] for response in await asyncio.gather(*slow)} == {200}


async def test_a_client_that_disconnects_frees_its_place(database):
    async with opened(database) as service:
        requests = service.start_requests(6)
        await run_pending_callbacks()

        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)

        limit = service.app.state.concurrency_limit
        assert (limit.available, limit.waiting) == (2, 0)


OWNER = "anybody"


async def test_slots_are_given_in_the_order_of_arrival():
    limit, order, first = request_limit(1), [], SimpleBorrower(OWNER)
    await limit.acquire(first, 1)

    async def come(number):
        borrower = SimpleBorrower(OWNER)
        await limit.acquire(borrower, 1)
        order.append(number)
        limit.release(borrower)

    waiting = [asyncio.create_task(come(0)), asyncio.create_task(come(1))]
    await run_pending_callbacks()
    limit.release(first)
    await asyncio.gather(*waiting)

    assert order == [0, 1]
    assert limit.available == 1


async def test_a_new_request_does_not_overtake_waiting_ones():
    limit, first, second = request_limit(1), SimpleBorrower(OWNER), SimpleBorrower(OWNER)
    await limit.acquire(first, 1)
    waiting = asyncio.create_task(limit.acquire(second, 1))
    await run_pending_callbacks()

    limit.release(first)

    assert limit.available == 0
    assert not limit.try_acquire(SimpleBorrower("another"))
    await waiting
    limit.release(second)
    assert limit.available == 1


async def test_a_permit_given_to_a_cancelled_request_is_not_lost():
    limit, first = request_limit(1), SimpleBorrower(OWNER)
    await limit.acquire(first, 1)
    waiting = asyncio.create_task(limit.acquire(SimpleBorrower(OWNER), 1))
    await run_pending_callbacks()

    limit.release(first)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert limit.available == 1


async def test_a_wait_that_times_out_leaves_the_queue():
    limit, first = request_limit(1), SimpleBorrower(OWNER)
    await limit.acquire(first, 1)

    for _ in range(5):
        with pytest.raises(Overloaded):
            await limit.acquire(SimpleBorrower(OWNER), 0.01)
    limit.release(first)

    assert (limit.available, limit.waiting) == (1, 0)


def acquired(limit: ConcurrencyLimit, owner: str, number: int) -> int:
    """How many permits an owner gets at once, of a number that it requests."""
    return sum(limit.try_acquire(SimpleBorrower(owner)) for _ in range(number))


def test_a_single_owner_gets_half_of_the_permits():
    limit = request_limit(64)

    assert acquired(limit, "greedy", 100) == 32
    assert [acquired(limit, f"other {number}", 100) for number in range(3)] == [16, 16, 0]


def test_an_owner_gets_a_quarter_when_half_is_taken():
    limit = request_limit(64)

    assert acquired(limit, "first", 10) + acquired(limit, "second", 30) == 32
    assert acquired(limit, "first", 100) == 6
    assert acquired(limit, "second", 100) == 0


async def test_waiting_owners_are_served_in_turn():
    limit, order, first = (
        ConcurrencyLimit(1, 100, full_message="full", timeout_error=lambda: Overloaded("late")),
        [],
        SimpleBorrower(OWNER),
    )
    await limit.acquire(first, 5)

    async def acquire(owner):
        borrower = SimpleBorrower(owner)
        await limit.acquire(borrower, 5)
        order.append(owner)
        limit.release(borrower)

    waiting = [asyncio.create_task(acquire(owner)) for owner in ["greedy"] * 10 + ["other"] * 2]
    await run_pending_callbacks()
    limit.release(first)
    await asyncio.gather(*waiting)

    assert order[:4] == ["greedy", "other", "greedy", "other"]


async def test_an_owner_may_fill_half_of_the_queue():
    limit = request_limit(4)
    await limit.acquire(SimpleBorrower("greedy"), 1)
    await limit.acquire(SimpleBorrower("greedy"), 1)
    line = [asyncio.create_task(limit.acquire(SimpleBorrower("greedy"), 1)) for _ in range(10)]
    await run_pending_callbacks()

    assert limit.waiting == 4
    assert limit.try_acquire(SimpleBorrower("other"))
    for task in line:
        task.cancel()
    await asyncio.gather(*line, return_exceptions=True)
