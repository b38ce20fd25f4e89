"""More requests than can be answered in good time are turned away, fast and in order; who only sends or reads slowly
takes nobody's place; and when it is over, all is as before."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from api.app import create_app
from api.middleware.response import request_limit
from schema.engine.concurrency import ConcurrencyLimit, SimpleBorrower
from schema.engine.errors import Overloaded
from tests.conftest import settings_for
from tests.fixtures.clients import ADMIN

BODY = b'{"first_name": "Ada", "age": 36}'


class House:
    """The service with two places, in which everybody stays until they are let go."""

    def __init__(self, database):
        self.go = asyncio.Event()
        self.running = 0
        self.app = create_app(settings_for(database, TANDEM_RUNNING="2"), self.hold)

    async def hold(self, scope):
        self.running += 1
        await self.go.wait()
        self.running -= 1
        return ADMIN

    async def ask(self, path="/users", method="GET", body=b"", arrives=None, taken=None):
        """The status of an answer, its headers and its body; the request's body is there once `arrives` is set."""
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 50000), "method": method, "state": {},
            "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }  # fmt: skip
        answer = []

        async def receive():
            if arrives is not None:
                await arrives.wait()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            answer.append(message)
            if taken is not None:
                await taken.wait()

        await self.app(scope, receive, send)
        return answer[0]["status"], dict(answer[0]["headers"]), b"".join(it.get("body", b"") for it in answer)

    def asking(self, number, *args, **more):
        return [asyncio.create_task(self.ask(*args, **more)) for _ in range(number)]


@asynccontextmanager
async def opened(database):
    house = House(database)
    async with house.app.router.lifespan_context(house.app):
        yield house
        house.go.set()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_beyond_those_that_run_and_wait_are_refused_at_once(database):
    async with opened(database) as house:
        inside = house.asking(6)
        await settle()

        status, headers, body = await asyncio.wait_for(house.ask(), 0.2)

        assert house.running == 2
        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        assert int(headers[b"retry-after"]) > 0
        assert headers[b"x-request-id"]
        house.go.set()
        assert [it[0] for it in await asyncio.gather(*inside)] == [200] * 6


async def test_a_request_that_waits_too_long_is_refused(database):
    async with opened(database) as house:
        inside = house.asking(2)
        await settle()

        status, _, body = await asyncio.wait_for(house.ask(), 5)

        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        house.go.set()
        assert [it[0] for it in await asyncio.gather(*inside)] == [200, 200]


async def test_an_overload_is_a_graphql_error_at_graphql(database):
    async with opened(database) as house:
        house.asking(6)
        await settle()

        status, headers, told = await asyncio.wait_for(house.ask("/graphql"), 5)

        assert status == 503
        assert json.loads(told)["errors"][0]["extensions"]["code"] == "OVERLOADED"
        assert int(headers[b"retry-after"]) > 0


async def test_a_request_takes_a_place_when_its_body_is_complete(database):
    async with opened(database) as house:
        gate = house.app.state.concurrency_limit
        writing = house.asking(1, "/users", "POST", BODY)
        await settle()
        taken = [SimpleBorrower("another"), SimpleBorrower("another")]
        for place in taken:
            await gate.acquire(place, 1)
        house.go.set()

        status, _, body = await asyncio.wait_for(writing[0], 5)

        assert (status, json.loads(body)["code"]) == (503, "OVERLOADED")
        for place in taken:
            gate.release(place)
        assert (await house.ask("/users", "POST", BODY))[0] == 201


@pytest.mark.parametrize("path, status", [("/health", 200), ("/health/live", 200), ("/health/ready", 200)])
async def test_health_checks_are_answered_at_the_concurrency_limit(database, path, status):
    async with opened(database) as house:
        house.asking(7)
        await settle()

        assert (await asyncio.wait_for(house.ask(path), 5))[0] == status


async def test_after_an_overload_all_places_are_free(database):
    async with opened(database) as house:
        crowd = house.asking(50)
        await settle()
        house.go.set()

        statuses = sorted(it[0] for it in await asyncio.gather(*crowd))

        assert statuses == [200] * 6 + [503] * 44
        assert [it[0] for it in await asyncio.gather(*house.asking(6))] == [200] * 6
        gate = house.app.state.concurrency_limit
        assert (gate.available, gate.waiting) == (2, 0)


async def test_a_client_that_sends_slowly_takes_no_place(database):
    async with opened(database) as house:
        house.go.set()
        arrives = asyncio.Event()
        slow = house.asking(20, "/users", "POST", BODY, arrives=arrives)
        await settle()

        assert (await house.ask())[0] == 200
        assert house.app.state.concurrency_limit.available == 2
        arrives.set()
        assert {it[0] for it in await asyncio.gather(*slow)} <= {201, 503}
        assert house.app.state.concurrency_limit.available == 2


async def test_a_client_that_reads_slowly_takes_no_place(database):
    async with opened(database) as house:
        house.go.set()
        taken = asyncio.Event()
        slow = []
        for _ in range(20):
            slow += house.asking(1, taken=taken)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(15):
            while house.app.state.concurrency_limit.available < 2:  # noqa: ASYNC110 nobody is told
                await asyncio.sleep(0.01)

        assert (await house.ask())[0] == 200
        taken.set()
        assert {it[0] for it in await asyncio.gather(*slow)} == {200}


async def test_a_client_that_disconnects_frees_its_place(database):
    async with opened(database) as house:
        crowd = house.asking(6)
        await settle()

        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

        gate = house.app.state.concurrency_limit
        assert (gate.available, gate.waiting) == (2, 0)


ANYBODY = "anybody"


async def test_places_are_given_in_the_order_of_arrival():
    gate, order, first = request_limit(1), [], SimpleBorrower(ANYBODY)
    await gate.acquire(first, 1)

    async def come(number):
        place = SimpleBorrower(ANYBODY)
        await gate.acquire(place, 1)
        order.append(number)
        gate.release(place)

    waiting = [asyncio.create_task(come(0)), asyncio.create_task(come(1))]
    await settle()
    gate.release(first)
    await asyncio.gather(*waiting)

    assert order == [0, 1]
    assert gate.available == 1


async def test_a_new_request_does_not_overtake_waiting_ones():
    gate, first, second = request_limit(1), SimpleBorrower(ANYBODY), SimpleBorrower(ANYBODY)
    await gate.acquire(first, 1)
    waiting = asyncio.create_task(gate.acquire(second, 1))
    await settle()

    gate.release(first)

    assert gate.available == 0
    assert not gate.try_acquire(SimpleBorrower("another"))
    await waiting
    gate.release(second)
    assert gate.available == 1


async def test_a_place_given_to_a_request_that_is_cancelled_is_not_lost():
    gate, first = request_limit(1), SimpleBorrower(ANYBODY)
    await gate.acquire(first, 1)
    waiting = asyncio.create_task(gate.acquire(SimpleBorrower(ANYBODY), 1))
    await settle()

    gate.release(first)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert gate.available == 1


async def test_the_wait_ends_and_leaves_nothing_behind():
    gate, first = request_limit(1), SimpleBorrower(ANYBODY)
    await gate.acquire(first, 1)

    for _ in range(5):
        with pytest.raises(Overloaded):
            await gate.acquire(SimpleBorrower(ANYBODY), 0.01)
    gate.release(first)

    assert (gate.available, gate.waiting) == (1, 0)


def takes(gate: ConcurrencyLimit, owner: str, number: int) -> int:
    """How many of so many places an owner is given at once."""
    return sum(gate.try_acquire(SimpleBorrower(owner)) for _ in range(number))


def test_a_single_owner_gets_half_of_the_places():
    gate = request_limit(64)

    assert takes(gate, "greedy", 100) == 32
    assert [takes(gate, f"other {number}", 100) for number in range(3)] == [16, 16, 0]


def test_an_owner_gets_a_quarter_when_half_is_taken():
    gate = request_limit(64)

    assert takes(gate, "one", 10) + takes(gate, "two", 30) == 32
    assert takes(gate, "one", 100) == 6
    assert takes(gate, "two", 100) == 0


async def test_waiting_owners_are_served_in_turn():
    gate, order, first = (
        ConcurrencyLimit(1, 100, full_message="full", timeout_error=lambda: Overloaded("late")),
        [],
        SimpleBorrower(ANYBODY),
    )
    await gate.acquire(first, 5)

    async def come(owner):
        place = SimpleBorrower(owner)
        await gate.acquire(place, 5)
        order.append(owner)
        gate.release(place)

    waiting = [asyncio.create_task(come(owner)) for owner in ["greedy"] * 10 + ["other"] * 2]
    await settle()
    gate.release(first)
    await asyncio.gather(*waiting)

    assert order[:4] == ["greedy", "other", "greedy", "other"]


async def test_an_owner_may_fill_half_of_the_queue():
    gate = request_limit(4)
    await gate.acquire(SimpleBorrower("greedy"), 1)
    await gate.acquire(SimpleBorrower("greedy"), 1)
    line = [asyncio.create_task(gate.acquire(SimpleBorrower("greedy"), 1)) for _ in range(10)]
    await settle()

    assert gate.waiting == 4
    assert gate.try_acquire(SimpleBorrower("other"))
    for one in line:
        one.cancel()
    await asyncio.gather(*line, return_exceptions=True)
