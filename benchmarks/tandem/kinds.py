"""TechEmpower's kinds as endpoints of one's own: each row by a query of its own, through the engine's plans and rules.

They answer with the JSON that the database wrote, so most are `Endpoint`s by hand: a typed function would read it
first.
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
from schema.engine.driver import QueryGenerator, RowQuery
from schema.engine.model.record import now
from schema.engine.model.resource import resource_of
from schema.engine.operations import records, write_statements
from schema.engine.operations.directory import TransactionResult
from schema.engine.query.selection import Constant, Items, ListSelection, Page, Scalar, Selection

Respond = Callable[[EndpointRequest], Awaitable[HTTPResponse]]
PLACES = 10_000
_WORLD, _FORTUNE = resource_of(World), resource_of(Fortune)
_ROW = Selection((("id", Scalar("place")), ("randomNumber", Scalar("random_number"))))
_TOLD = Selection((("place", Scalar("place")), ("message", Scalar("message"))))
_ALL = ListSelection((("items", Items(_TOLD)), ("next", Constant("null"))), Page("size"))
_NUMBER = frozenset({"random_number"})
_TEXT, _HTML = b"text/plain; charset=utf-8", b"text/html; charset=utf-8"
_PAGE = (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>"
    "<tr><th>id</th><th>message</th></tr>%s</table></body></html>"
)


class Hello(BaseModel):
    """A greeting."""

    message: str


@get("/json", summary="Greet", tag="kinds")
async def json() -> Hello:
    """Serialises an object, made anew for each request."""
    return Hello(message="Hello, World!")


async def _plaintext(call: EndpointRequest) -> HTTPResponse:
    return HTTPResponse(200, b"Hello, World!", ((b"content-type", _TEXT),))


async def _queries(call: EndpointRequest) -> HTTPResponse:
    work, plan, signer = (
        call.unit_of_work,
        call.unit_of_work.record_plan(_WORLD, _ROW),
        call.directory.cursor_key.current,
    )
    ids = [id_at(randrange(1, PLACES + 1)) for _ in range(_wanted(call))]
    steps = [work.record_query(plan, id, {}) for id in ids]
    # Without what would let the engine look them all up in one statement.
    brought = await work.read([RowQuery(step[0], step[1]) for step in steps])
    found = (
        records.record_result(plan, _WORLD, id, rows, {}, signer).json for id, rows in zip(ids, brought, strict=True)
    )
    return HTTPResponse(200, b"[%b]" % b",".join(found))


async def _updates(call: EndpointRequest) -> HTTPResponse:
    """Each row is read, given another number and written, all in one transaction."""
    work, kind = call.unit_of_work, call.actor.profile
    plans, rule = work.directory.plans, _WORLD.rules.update
    key = ("update", _WORLD, kind, rule, _NUMBER, False)
    changing = plans.get_or_make(
        key, lambda: write_statements.update_statement(_WORLD, kind, rule, _NUMBER, versioned=False)
    )
    plan, moment = work.record_plan(_WORLD, _ROW), now()
    # In one order for all, so that no two of them wait for each other.
    places = sorted(sample(range(1, PLACES + 1), _wanted(call)))
    new = {place: randrange(1, PLACES + 1) for place in places}

    def job() -> QueryGenerator:
        for place, number in new.items():
            id = id_at(place)
            bound = {"key": id, "set_random_number": number, "now": moment, "actor": work.actor.id}
            if not (yield work.record_query(plan, id, {})):
                raise write_statements.not_found(_WORLD, id)
            yield changing.sql, changing.bind(bound)
        return TransactionResult(orjson.dumps([{"id": place, "randomNumber": number} for place, number in new.items()]))

    return HTTPResponse(200, await work.write(job))


async def _fortunes(call: EndpointRequest) -> HTTPResponse:
    page = await records.find(call.unit_of_work, _FORTUNE, _ALL, {"size": 100})
    told = [(it["place"], it["message"]) for it in orjson.loads(page.json)["items"]]
    told.append((0, "Additional fortune added at request time."))
    told.sort(key=lambda it: it[1])
    rows = "".join([f"<tr><td>{place}</td><td>{escape(message)}</td></tr>" for place, message in told])
    return HTTPResponse(200, (_PAGE % rows).encode(), ((b"content-type", _HTML),))


def _wanted(call: EndpointRequest) -> int:
    wanted: int = call.query.get("queries", 1)
    return wanted


def _count(text: str) -> int:
    """As TechEmpower has it: from 1 to 500, and 1 for what is no number."""
    return min(max(int(text), 1), 500) if text.isdecimal() and text.isascii() else 1


def _endpoint(name: str, call: Respond, schema: dict[str, Any], *counted: Parameter) -> Endpoint:
    summary = name.capitalize()
    reply = ResponseSpec(200, summary, schema)
    return Endpoint("GET", f"/{name}", name, summary, summary, "kinds", (reply,), call, parameters=counted)


_QUERIES = Parameter("queries", "query", {"type": "string"}, _count, "How many rows.")
_ROWS = {"type": "array", "items": {"type": "object"}}

plaintext = _endpoint("plaintext", _plaintext, {"type": "string"})
queries = _endpoint("queries", _queries, _ROWS, _QUERIES)
updates = _endpoint("updates", _updates, _ROWS, _QUERIES)
fortunes = _endpoint("fortunes", _fortunes, {"type": "string"})
