"""The loops of `api/` and `schema/` that go through what callers send, each with what is hostile to it.

Sizes are below the limits where these are, so that a refusal does not hide how the work grows up to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from graphql import DocumentNode, GraphQLError, parse

from api import graphql, handshake, logs, messages
from api.endpoints.greetings import Greeting
from api.figures import trace_id_of
from api.hosts import host_check
from api.proxies import unveiling
from api.rest import problems, reading
from api.rest.bodies import reader
from api.rest.endpoint import Call
from api.rest.headers import IF_NONE_MATCH, expected_versions, is_fresh
from api.rest.hints import value_of_hint
from api.rest.reading import Parameters
from api.rest.selecting import list_parameters
from api.settings import read
from api.tokens import Tokens
from schema.engine import searching
from schema.engine.comparison import bound, checked
from schema.engine.cursors import Signer, keys_of
from schema.engine.errors import Fault, Invalid
from schema.engine.faces import create_face
from schema.engine.jsontext import check_bounds, strict
from schema.engine.repeats import repeat
from schema.engine.selection import Order
from schema.engine.shape import Shape, shape
from schema.engine.spelling import end, spellings
from schema.graphql.arguments import Named, Tally, stretch_of
from schema.graphql.failures import RequestRefused
from schema.graphql.limits import Limits, parsed
from schema.graphql.overlaps import comparisons
from schema.models import User
from tests.security.credentials import SECRET, token
from tests.security.loop_steps import Scanned

UNLIMITED = 10**9


def people() -> Shape:
    return shape(User)


def after(awaited: Coroutine[Any, Any, object]) -> None:
    """Run what waits for nothing."""
    try:
        awaited.send(None)
    except StopIteration:
        return
    awaited.close()
    raise AssertionError("it waits")


def members(n: int, value: Any = 1) -> bytes:
    return json.dumps({f"k{at}": value for at in range(n)}).encode()


def twice(n: int) -> bytes:
    return members(n)[:-1] + b', "k%d": 2}' % (n - 1)


def nested(n: int) -> bytes:
    return b"[" + b",".join([b"[" * 20 + b"]" * 20] * n) + b"]"


def query(text: Callable[[int], str]) -> Callable[[int], bytes]:
    return lambda n: text(n).encode()


def read_query(sent: bytes) -> None:
    Parameters(list_parameters(people())).read({}, reading.query_of(sent), {})


def headers(name: str, text: str) -> Callable[[int], dict[str, Any]]:
    """A scope with one header, which is long."""
    return lambda n: {
        "type": "http", "scheme": "http", "path": "/users", "client": ("10.0.0.1", 1),
        "headers": [(b"host", b"example.org"), (name.encode(), (text * n).encode())],
    }  # fmt: skip


def fresh(scope: dict[str, Any]) -> None:
    sent = reading.headers_of(scope)
    IF_NONE_MATCH.read(sent["if-none-match"])
    is_fresh(Call(None, None, "", {}, {}, sent, {}, ""), '"1"')  # type: ignore[arg-type]


async def nowhere(_: object) -> None:
    return None


@cache
def tokens() -> Tokens:
    return Tokens(read({"TANDEM_ENV": "production", "DATABASE_URL": "sqlite:///x.db", "SECRET_KEY": SECRET}), None)


def refused(n: int) -> list[GraphQLError]:
    """As many equal errors, each with a place of its own."""
    document = parse("{ " + "a " * n + "}")
    fields = document.definitions[0].selection_set.selections  # type: ignore[attr-defined]
    return [GraphQLError("Cannot query field 'a'. Did you mean 'b'? Did you mean", field) for field in fields]


def document(text: Callable[[int], str]) -> Callable[[int], DocumentNode]:
    return lambda n: parse(text(n), no_location=True)


def pairs(found: DocumentNode) -> None:
    comparisons(found, UNLIMITED, 15)


def overlapping(n: int) -> str:
    fragments = " ".join(f"fragment F{at} on User {{ a{at}: id }}" for at in range(n))
    return "{ users { nodes { " + " ".join(f"...F{at} ...{{ b{at}: id }}" for at in range(n)) + " } } } " + fragments


SIGNER = Signer(b"secret" * 6)


def conditions(n: int) -> dict[str, Any]:
    return {"filter": {"or": [{"age": {"in": [1, 2]}, "firstName": {"startswith": "ab"}} for _ in range(n)]}}


def stretched(arguments: dict[str, Any]) -> None:
    stretch_of(arguments, people(), None, Named(Tally(-UNLIMITED)), SIGNER)


def text_of(n: int, text: str) -> Any:
    return {"type": "websocket.receive", "text": text * n}


def sent(n: int, **payload: Any) -> Any:
    return {"text": json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{ a }", **payload}})}


def raised(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        logs.described(error)


FIELD = people().fields["first_name"]
FIRST_NAMES = Order(("first_name",))
LOOPS: dict[str, Scanned] = {
    # JSON, by which all that has a body is read.
    "JSON: brackets and quotes": Scanned(strict, lambda n: b"[" * 33 + b'\\"' * n),
    "JSON: brackets": Scanned(strict, lambda n: b"[" * n, 200),
    "JSON: closed brackets": Scanned(strict, lambda n: b"]" * n, 3000),
    "JSON: keys": Scanned(strict, members),
    "JSON: a key twice": Scanned(strict, twice),
    "JSON: a key often": Scanned(strict, lambda n: b"{" + b'"a":1,' * n + b'"a":1}'),
    "JSON: colons in texts": Scanned(strict, lambda n: members(n, '":')),
    "JSON: fractions": Scanned(strict, lambda n: members(n, 1.5)),
    "JSON: long integers": Scanned(strict, lambda n: members(n, 10**40), 80),
    "JSON: nested": Scanned(strict, nested, 4),
    "JSON: empty arrays": Scanned(strict, lambda n: b"[" + b"[]," * n + b"[]]", 1300),
    "JSON: many quotes": Scanned(check_bounds, lambda n: b'["' * n + b'","' * n, 1500),
    "JSON: escapes": Scanned(check_bounds, lambda n: b'"' + b'\\"\\\\,' * n + b'"', 3000),
    "JSON: commas in a text": Scanned(check_bounds, lambda n: b'"' + b",[{" * n + b'"', 3000),
    # REST bodies.
    "body: unknown fields": Scanned(create_face(people()).read_json, members),
    "body: a list": Scanned(create_face(people()).read_json, lambda n: json.dumps([1] * n).encode()),
    "body: a long text": Scanned(create_face(people()).read_json, lambda n: b'{"first_name": "%b"}' % (b"x" * n)),
    "body: a blank text": Scanned(create_face(people()).read_json, lambda n: b'{"email": "%b"}' % (b" @" * n)),
    "body of an endpoint: unknown fields": Scanned(reader(Greeting), members),
    "body of an endpoint: a list of items": Scanned(reader(list[Greeting]), lambda n: json.dumps([{}] * n).encode()),
    "faults in a sentence": Scanned(
        lambda faults: problems.document(Invalid.of(*faults), 422, "/", ""),
        lambda n: [Fault((f"k{at}", at), "there is no such field", "unknown") for at in range(n)],
    ),
    "an answer kept for a repeat": Scanned(lambda body: repeat("k", "POST", "/users", body), lambda n: {"a": "x" * n}),
    # Query strings and paths.
    "query: parameters": Scanned(read_query, query(lambda n: "&".join(f"k{at}=1" for at in range(n)))),
    "query: one parameter": Scanned(read_query, query(lambda n: "age__in=1&" * n)),
    "query: a list": Scanned(read_query, query(lambda n: "id__in=" + "," * n)),
    "query: percents": Scanned(read_query, query(lambda n: "first_name=" + "%2C%00" * n)),
    "query: words": Scanned(read_query, query(lambda n: "q=abc" + "+a" * n)),
    "query: separators": Scanned(read_query, query(lambda n: "&=;" * n)),
    "query: variables": Scanned(
        lambda text: [strict(values[0].encode()) for values in reading.query_of(text).values()],
        lambda n: b"query=a&variables=" + members(n).replace(b" ", b""),
    ),
    "query: a value of a list": Scanned(value_of_hint(list[int])[0].read, lambda n: "1" * n),
    "query: a value of a text": Scanned(value_of_hint(str)[0].read, lambda n: '"\\' * n),
    "search: words": Scanned(searching.read, lambda n: "abc " + "a " * n, 6),
    "search: blanks": Scanned(searching.read, lambda n: " " * n, 12),
    "search: phrase": Scanned(lambda words: searching.words_bound(people(), "q", words), lambda n: ['"' * 9] * n),
    "a beginning": Scanned(spellings, lambda n: "k" * n),
    "the end of a beginning": Scanned(end, lambda n: "\U0010ffff" * n),
    "compared: a list": Scanned(lambda it: bound(FIELD, "in", "v", checked(FIELD, "in", it)), lambda n: ["É"] * n),
    "a cursor": Scanned(
        lambda it: keys_of(it, "after", people(), None, FIRST_NAMES, None, {}, SIGNER), lambda n: "W1tb" * n
    ),
    # Headers.
    "headers: Accept with commas": Scanned(
        lambda scope: reading.check_accept(reading.headers_of(scope)["accept"]), headers("accept", ",a/b;q=1"), 100
    ),
    "headers: Accept with semicolons": Scanned(
        lambda scope: reading.check_accept(reading.headers_of(scope)["accept"]), headers("accept", ";"), 600
    ),
    "headers: Accept of GraphQL": Scanned(
        lambda scope: after(graphql.refuse(Invalid.of(), {**scope, "method": "GET"}, nowhere)),
        headers("accept", "a/b,"),
        200,
    ),
    "headers: Content-Type": Scanned(
        lambda scope: reading.is_taken(reading.headers_of(scope)["content-type"], ("application/json",)),
        headers("content-type", ";charset="),
    ),
    "headers: If-Match": Scanned(
        lambda scope: expected_versions(reading.headers_of(scope)), headers("if-match", '"1", W/')
    ),
    "headers: If-None-Match": Scanned(fresh, headers("if-none-match", '"a",')),
    "headers: Host": Scanned(
        lambda scope: host_check(["example.org"])(scope),
        lambda n: {"path": "/users", "headers": [(b"host", b"a." * n)]},
    ),
    "headers: X-Forwarded-For": Scanned(unveiling(1), headers("x-forwarded-for", "1.2.3.4, "), 100),  # type: ignore[arg-type]
    "headers: X-Forwarded-For without commas": Scanned(unveiling(1), headers("x-forwarded-for", "1.2"), 400),  # type: ignore[arg-type]
    "headers: traceparent": Scanned(lambda text: trace_id_of(text), lambda n: b" " * n + b"00-" + b"a" * n),
    "headers: Origin": Scanned(lambda scope: handshake.check_origin(scope, ()), headers("origin", "http://a")),
    "headers: a JWT": Scanned(lambda text: after(tokens().claim(text)), lambda n: token(sub="a", aud=["x"] * n), 40),
    "headers: a JWT of brackets": Scanned(
        lambda text: after(tokens().claim(text)), lambda n: f"W1tb{'W1tb' * n}.{'XCIi' * n}.a"
    ),
    # WebSockets.
    "a message: variables": Scanned(messages.read, lambda n: sent(n, variables={"ids": ["x"] * n})),
    "a message: unknown members": Scanned(messages.read, lambda n: {"text": members(n).decode()}),
    "a message: a ping": Scanned(
        messages.read, lambda n: {"text": json.dumps({"type": "ping", "payload": {str(at): at for at in range(n)}})}
    ),
    "a message: brackets": Scanned(messages.read, lambda n: text_of(n, "["), 200),
    "a message: lone surrogates": Scanned(messages.read, lambda n: text_of(n, "\ud800")),
    "the credential of an init": Scanned(
        lambda payload: handshake.introduced({"scheme": "ws", "headers": []}, payload),
        lambda n: {f"Authorizatio{at}": "x" for at in range(n)},
    ),
    # GraphQL.
    "a document: tokens": Scanned(lambda text: parsed(text, Limits()), lambda n: "{ " + "a: b " * n + "}"),
    "a document: strings": Scanned(lambda text: parsed(text, Limits()), lambda n: '{ a(b: "' + '\\"' * n + '") }'),
    "a document: block strings": Scanned(
        lambda text: parsed(text, Limits()), lambda n: '{ a(b: """' + '\\"""\n ' * n + '""") }'
    ),
    "a document: comments": Scanned(lambda text: parsed(text, Limits()), lambda n: "{ a " + "#\n" * n + "}"),
    "a document: fragments": Scanned(pairs, document(overlapping), 5),
    "a document: inline fragments": Scanned(
        pairs, document(lambda n: "{ users { " + "... { nodes { id } } " * n + "} }")
    ),
    "a document: fragments within fragments": Scanned(
        pairs,
        document(
            lambda n: (
                "{ users { ...F0 } } "
                + " ".join(f"fragment F{at} on User {{ a{at} ...F{at + 1} }}" for at in range(n))
                + f"fragment F{n} on User {{ id }}"
            )
        ),
    ),
    "errors of a document": Scanned(
        lambda errors: RequestRefused(errors, "GRAPHQL_VALIDATION_FAILED").without_suggestions(), refused
    ),
    "a suggestion in a message": Scanned(
        lambda text: RequestRefused([GraphQLError(text)], "").without_suggestions(), lambda n: " Did you mean" * n, 9
    ),
    "a filter": Scanned(stretched, conditions, 5),
    # The log.
    "a text in the log": Scanned(logs.scrubbed, lambda n: "a@b eyJ.tdm_ " * n),
    "an error in the log": Scanned(raised, lambda n: "'\\\"`=1(" * n),
}
