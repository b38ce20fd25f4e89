"""Messages and close codes of `graphql-transport-ws`: parsed from frames and written as text, without any I/O.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson
from starlette.types import Message as Frame

from api.graphql.http import request_of
from schema.engine.errors import BadRequest, QueryTooComplex
from schema.engine.model.strict_json import parse_json
from schema.graphql.execution.executor import GraphQLRequest

# Bytes of a message, and of one before `connection_ack`.
MAX_SIZE, MAX_SIZE_BEFORE_ACK = 2**20, 8 * 1024
# Bytes of a reason in a close frame (RFC 6455, 5.5).
MAX_REASON_BYTES = 123
CONNECTION_ACK = '{"type":"connection_ack"}'
_MEMBERS = {"type", "id", "payload"}


class CloseCode(IntEnum):
    """Close codes of RFC 6455 (1xxx) and of the protocol (4xxx)."""

    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INITIALISATION_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITIALISATION_REQUESTS = 4429
    INTERNAL_SERVER_ERROR = 4500


class SocketClosed(Exception):
    """Ends the socket from this side, with a close code and a reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class ConnectionInit:
    """Starts the session. The payload may carry the credential."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ping:
    """Requests a `pong`."""

    payload: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a `ping`, or is sent unasked as a heartbeat."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Runs an operation; its responses carry this id."""

    id: str
    request: GraphQLRequest


@dataclass(frozen=True, slots=True)
class Complete:
    """Cancels the operation with this id."""

    id: str


Message = ConnectionInit | Ping | Pong | Subscribe | Complete


def parse_message(frame: Frame, max_size: int = MAX_SIZE) -> Message:
    """Parse a frame; raises `SocketClosed` if it is no valid message of a client, or too large."""
    text = frame.get("text")
    if text is None:
        raise SocketClosed(CloseCode.BAD_REQUEST, "Invalid message: must be text")
    body = text.encode(errors="surrogatepass")
    if len(body) > max_size:
        before = " before connection_ack" if max_size < MAX_SIZE else ""
        raise SocketClosed(CloseCode.TOO_BIG, f"A message must have at most {max_size} bytes{before}")
    try:
        return _message(parse_json(body))
    except (BadRequest, QueryTooComplex) as error:
        raise SocketClosed(CloseCode.BAD_REQUEST, f"Invalid message: {error.detail}") from None


def pong(payload: Mapping[str, Any] | None) -> str:
    """The answer to a ping, with the ping's payload."""
    return orjson.dumps({"type": "pong"} if payload is None else {"type": "pong", "payload": payload}).decode()


def next_message(id: str, response: bytes) -> str:
    """A response of an operation; `response` is JSON."""
    return (b'{"id":%b,"type":"next","payload":%b}' % (orjson.dumps(id), response)).decode()


def error_message(id: str, errors: Sequence[Mapping[str, Any]]) -> str:
    """Why an operation was not run. It ends the operation."""
    return orjson.dumps({"id": id, "type": "error", "payload": errors}).decode()


def complete_message(id: str) -> str:
    """The end of an operation."""
    return orjson.dumps({"id": id, "type": "complete"}).decode()


def _message(members: Any) -> Message:
    if not isinstance(members, dict):
        raise BadRequest("must be a JSON object")
    if unknown := members.keys() - _MEMBERS:
        raise BadRequest(f"members must be type, id and payload, got {min(unknown)}")
    match members.get("type"):
        case "connection_init":
            return ConnectionInit(_payload(members) or {})
        case "ping":
            return Ping(_payload(members))
        case "pong":
            _payload(members)
            return Pong()
        case "subscribe":
            id, payload = _id(members), _payload(members)
            if payload is None:
                raise BadRequest("payload is required")
            return Subscribe(id, request_of(payload))
        case "complete":
            return Complete(_id(members))
    raise BadRequest("type must be connection_init, ping, pong, subscribe or complete")


def _payload(members: Mapping[str, Any]) -> Mapping[str, Any] | None:
    payload = members.get("payload")
    if payload is None or isinstance(payload, dict):
        return payload
    raise BadRequest("payload must be an object")


def _id(members: Mapping[str, Any]) -> str:
    id = members.get("id")
    if not isinstance(id, str) or not id:
        raise BadRequest("id must be a non-empty string")
    return id
