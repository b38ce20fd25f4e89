"""A request read part by part, in the order in which it can be refused: media types, parameters, body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from api.rest.endpoint import Body, Endpoint, Parameter
from api.rest.problems import NotAcceptable, PayloadTooLarge, UnsupportedMediaType
from schema.engine.errors import BadRequest, DirectoryError, Fault, Invalid

MOST_PARAMETERS = 500


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by lower-case name; those that are sent several times joined by commas."""
    made: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        made[key] = f"{made[key]}, {text}" if key in made else text
    return made


def check_accept(accept: str | None, offered: tuple[str, ...] = ("application/json",)) -> None:
    """`NotAcceptable` if the caller takes none of the media types that are offered."""
    if accept is None or accept in ("*/*", "application/json"):
        return
    if not any(quality_of(accept, media) > 0 for media in offered):
        raise NotAcceptable(f"this is to be had as {', '.join(offered)}")


def quality_of(accept: str, media: str) -> float:
    """How much an Accept header wants a media type, from 0 to 1 (RFC 9110, 12.5.1): the closest range decides."""
    best = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        closeness = {media: 3, f"{media.partition('/')[0]}/*": 2, "*/*": 1}.get(name, 0)
        if closeness > best[0]:
            best = (closeness, _weight(parameters))
    return best[1]


def check_media_type(body: Body, content_type: str | None, has_body: bool, method: str) -> None:
    """`UnsupportedMediaType` if the body is in none of the forms that the endpoint reads."""
    if not has_body and not body.required:
        return
    media, _, parameters = (content_type or "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media.strip() in body.media and charset in ("", "utf-8", "utf8"):
        return
    accepted = ", ".join(body.media)
    header = {"PATCH": b"accept-patch", "POST": b"accept-post"}.get(method, b"accept")
    raise UnsupportedMediaType(f"a body is taken as {accepted}, in UTF-8", [(header, accepted.encode())])


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The body; `PayloadTooLarge` past `limit` bytes, and before any is read where its length says so."""
    too_large = PayloadTooLarge(f"a body may have {limit} bytes")
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection was closed before the body was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise too_large
        if not message.get("more_body", False):
            return b"".join(chunks)


def read_parameters(endpoint: Endpoint, scope: Scope) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of the path and of the query; `BadRequest` or `Invalid` with all that is wrong with them."""
    faults: list[Fault] = []
    given = {name: [value] for name, value in scope["path_params"].items()}
    in_path = _values([it for it in endpoint.parameters if it.place == "path"], given, faults)
    sent = query_of(scope["query_string"])
    known = [it for it in endpoint.parameters if it.place == "query"]
    names = [parameter.name for parameter in known]
    for name in sent.keys() - set(names):
        listed = f"there are {', '.join(names)}" if names else "there are none"
        faults.append(Fault((name,), f"there is no such parameter; {listed}", "unknown", "parameter"))
    in_query = _values(known, sent, faults) if sent or any(it.required for it in known) else {}
    if faults:
        raise Invalid.of(*faults)
    return in_path, in_query


def query_of(query: bytes) -> dict[str, list[str]]:
    """The parameters of a query string in UTF-8, each with all its values."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except UnicodeError:
        raise BadRequest("the query string is not UTF-8 in percent-encoding") from None
    except ValueError:
        raise BadRequest(f"a query string may have {MOST_PARAMETERS} parameters") from None
    made: dict[str, list[str]] = {}
    for name, value in pairs:
        made.setdefault(name, []).append(value)
    return made


def _values(known: Iterable[Parameter], sent: Mapping[str, list[str]], faults: list[Fault]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for parameter in known:
        texts = sent.get(parameter.name)
        if texts is None:
            if parameter.required:
                faults.append(Fault((parameter.name,), "it is required", "required", "parameter"))
            continue
        try:
            made[parameter.name] = _many(parameter, texts) if parameter.many else _single(parameter, texts)
        except ValueError as error:
            faults.append(Fault((parameter.name,), str(error), "invalid", "parameter"))
    return made


def _single(parameter: Parameter, texts: list[str]) -> Any:
    if len(texts) > 1:
        fault = Fault((parameter.name,), "it stands more than once", "repeated", "parameter")
        raise BadRequest(f"{parameter.name} stands more than once", [fault])
    return parameter.read(texts[0])


def _many(parameter: Parameter, texts: list[str]) -> list[Any]:
    items = [item for text in texts for item in text.split(",")]
    most = parameter.schema["maxItems"]
    if len(items) > most:
        raise ValueError(f"it may have {most} values, and has {len(items)}")
    return [parameter.read(item) for item in items]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
