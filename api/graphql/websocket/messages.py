"""The messages of `graphql-transport-ws`: read from frames and written as text. Nothing here waits or sends.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Message as Frame

from api.graphql.http import request_of
from schema.engine.errors import BadRequest, QueryTooComplex
from schema.engine.model.strict_json import parse_json
from schema.graphql.execution.executor import Request

# Bytes that a message may have, and one from a client that has not been acknowledged.
LARGEST, LARGEST_BEFORE = 2**20, 8 * 1024
# A close frame has room for so many bytes.
LONGEST_REASON = 123

TOO_BIG, TRY_AGAIN = 1009, 1013
INVALID, UNAUTHORIZED, FORBIDDEN, SUBPROTOCOL, LATE, TAKEN, TOO_MANY = 4400, 4401, 4403, 4406, 4408, 4409, 4429
INTERNAL = 4500

ACKNOWLEDGEMENT = '{"type":"connection_ack"}'
_MEMBERS = {"type", "id", "payload"}


class Closing(Exception):
    """The end of a socket, by us: the code and the reason that the other side is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:LONGEST_REASON].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Init:
    """Somebody wants to begin, and may say who it is."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there?"""

    payload: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pong:
    """I am."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """An operation to be run, whose answers carry this id."""

    id: str
    request: Request


@dataclass(frozen=True, slots=True)
class Complete:
    """Nobody waits for the answers of this operation any more."""

    id: str


Message = Init | Ping | Pong | Subscribe | Complete


def read(frame: Frame, most: int = LARGEST) -> Message:
    """The message in a frame; `Closing` where it is none that a client may send, or has more than `most` bytes."""
    text = frame.get("text")
    if text is None:
        raise Closing(INVALID, "Invalid message: it has to be text")
    body = text.encode(errors="surrogatepass")
    if len(body) > most:
        raise Closing(TOO_BIG, f"A message may have {most} bytes{' before connection_ack' if most < LARGEST else ''}")
    try:
        return _message(parse_json(body))
    except (BadRequest, QueryTooComplex) as error:
        raise Closing(INVALID, f"Invalid message: {error.detail}") from None


def pong(payload: Mapping[str, Any] | None) -> str:
    """The answer to a ping: what it brought is given back."""
    return orjson.dumps({"type": "pong"} if payload is None else {"type": "pong", "payload": payload}).decode()


def following(id: str, answer: bytes) -> str:
    """The next answer of an operation."""
    return (b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(id), answer)).decode()


def failed(id: str, errors: Sequence[Mapping[str, Any]]) -> str:
    """Why an operation was not run. It is over with that."""
    return orjson.dumps({"id": id, "type": "error", "payload": errors}).decode()


def completed(id: str) -> str:
    """There are no more answers to an operation."""
    return orjson.dumps({"id": id, "type": "complete"}).decode()


def _message(sent: Any) -> Message:
    if not isinstance(sent, dict):
        raise BadRequest("it has to be a JSON object")
    if unknown := sent.keys() - _MEMBERS:
        raise BadRequest(f"it has type, id and payload, and no {min(unknown)}")
    match sent.get("type"):
        case "connection_init":
            return Init(_payload(sent) or {})
        case "ping":
            return Ping(_payload(sent))
        case "pong":
            _payload(sent)
            return Pong()
        case "subscribe":
            return Subscribe(_id(sent), request_of(_required_payload(sent)))
        case "complete":
            return Complete(_id(sent))
    raise BadRequest("its type has to be connection_init, ping, pong, subscribe or complete")


def _payload(sent: Mapping[str, Any]) -> Mapping[str, Any] | None:
    payload = sent.get("payload")
    if payload is None or isinstance(payload, dict):
        return payload
    raise BadRequest("its payload has to be an object")


def _required_payload(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = _payload(sent)
    if payload is None:
        raise BadRequest("its payload is missing")
    return payload


def _id(sent: Mapping[str, Any]) -> str:
    id = sent.get("id")
    if not isinstance(id, str) or not id:
        raise BadRequest("its id has to be a string that is not empty")
    return id
