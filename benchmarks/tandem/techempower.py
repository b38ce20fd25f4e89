"""The TechEmpower workloads as endpoints: each row by a query of its own, through the engine's plans and rules.

They return the JSON that the database built, so most are explicit `Endpoint`s: a typed function would parse it first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from random import randrange, sample
from typing import Any

import orjson
from pydantic import BaseModel

from api.http.responses import HTTPResponse
from api.rest.endpoint import Endpoint, EndpointRequest, ResponseSpec
from api.rest.parameters import Parameter
from api.rest.typed_endpoints import get
from benchmarks.tandem.models import Fortune, World, id_at
from schema.engine.changes import TransactionResult
from schema.engine.driver import QueryGenerator, RowQuery
from schema.engine.model.record import now
from schema.engine.model.resource import resource_of
from schema.engine.operations import records, write_statements
from schema.engine.query.planner import plan_record
from schema.engine.query.selection import Constant, Items, ListSelection, Page, Scalar, Selection

Handler = Callable[[EndpointRequest], Awaitable[HTTPResponse]]
WORLD_ROWS = 10_000
_WORLD, _FORTUNE = resource_of(World), resource_of(Fortune)
_ROW = Selection((("id", Scalar("place")), ("randomNumber", Scalar("random_number"))))
_MESSAGE = Selection((("place", Scalar("place")), ("message", Scalar("message"))))
_ALL = ListSelection((("items", Items(_MESSAGE)), ("next", Constant("null"))), Page("size"))
_NUMBER = frozenset({"random_number"})
_TEXT, _HTML = b"text/plain; charset=utf-8", b"text/html; charset=utf-8"
_PAGE = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>%s</table></body></html>"
)


class Hello(BaseModel):
    message: str


@get("/json", summary="Greet", tag="techempower")
async def json() -> Hello:
    """Serializes an object that is created for each request."""
    return Hello(message="Hello, World!")


async def _plaintext(request: EndpointRequest) -> HTTPResponse:
    return HTTPResponse(200, b"Hello, World!", ((b"content-type", _TEXT),))


async def _queries(request: EndpointRequest) -> HTTPResponse:
    unit_of_work, signer = request.unit_of_work, request.directory.cursor_key.current
    plan = unit_of_work.plan(plan_record, _WORLD, _ROW)
    ids = [id_at(randrange(1, WORLD_ROWS + 1)) for _ in range(_row_count(request))]
    queries = [unit_of_work.record_query(plan, id, {}) for id in ids]
    # A plain RowQuery: the engine would combine record queries into one statement.
    results = await unit_of_work.read([RowQuery(query[0], query[1]) for query in queries])
    objects = (
        records.record_result(plan, _WORLD, id, rows, {}, signer).json for id, rows in zip(ids, results, strict=True)
    )
    return HTTPResponse(200, b"[%b]" % b",".join(objects))


async def _updates(request: EndpointRequest) -> HTTPResponse:
    """Read and update each row, all in one transaction."""
    unit_of_work, profile = request.unit_of_work, request.actor.profile
    plans, rule = unit_of_work.directory.plans, _WORLD.rules.update
    key = ("update", _WORLD, profile, rule, _NUMBER, False)
    update = plans.get_or_make(
        key, lambda: write_statements.update_statement(_WORLD, profile, rule, _NUMBER, versioned=False)
    )
    plan, timestamp = unit_of_work.plan(plan_record, _WORLD, _ROW), now()
    # All transactions update rows in the same order, which prevents deadlocks.
    positions = sorted(sample(range(1, WORLD_ROWS + 1), _row_count(request)))
    numbers = {position: randrange(1, WORLD_ROWS + 1) for position in positions}

    def transaction() -> QueryGenerator:
        for position, number in numbers.items():
            id = id_at(position)
            values = {"key": id, "set_random_number": number, "now": timestamp, "actor": unit_of_work.actor.id}
            if not (yield unit_of_work.record_query(plan, id, {})):
                raise write_statements.not_found(_WORLD, id)
            yield update.sql, update.bind(values)
        rows = [{"id": position, "randomNumber": number} for position, number in numbers.items()]
        return TransactionResult(orjson.dumps(rows))

    return HTTPResponse(200, await unit_of_work.write(transaction))


async def _fortunes(request: EndpointRequest) -> HTTPResponse:
    page = await records.find(request.unit_of_work, _FORTUNE, _ALL, {"size": 100})
    fortunes = [(record["place"], record["message"]) for record in orjson.loads(page.json)["items"]]
    fortunes.append((0, "Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune[1])
    rows = "".join([f"<tr><td>{place}</td><td>{escape(message)}</td></tr>" for place, message in fortunes])
    return HTTPResponse(200, (_PAGE % rows).encode(), ((b"content-type", _HTML),))


def _row_count(request: EndpointRequest) -> int:
    count: int = request.query.get("queries", 1)
    return count


def _count(text: str) -> int:
    """As TechEmpower specifies: from 1 to 500, and 1 for what is not a number."""
    return min(max(int(text), 1), 500) if text.isdecimal() and text.isascii() else 1


def _endpoint(name: str, handler: Handler, schema: dict[str, Any], *parameters: Parameter) -> Endpoint:
    summary = name.capitalize()
    response = ResponseSpec(200, summary, schema)
    return Endpoint(
        "GET", f"/{name}", name, summary, summary, "techempower", (response,), handler, parameters=parameters
    )


_QUERIES = Parameter("queries", "query", {"type": "string"}, _count, "The number of rows.")
_ROWS = {"type": "array", "items": {"type": "object"}}

plaintext = _endpoint("plaintext", _plaintext, {"type": "string"})
queries = _endpoint("queries", _queries, _ROWS, _QUERIES)
updates = _endpoint("updates", _updates, _ROWS, _QUERIES)
fortunes = _endpoint("fortunes", _fortunes, {"type": "string"})
