"""What a request's head must be, beyond what the parser sees to (RFC 9112), and what is said where it is not so."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.http import problem_details
from api.middleware.response import HEADERS
from api.server.http.limits import ConnectionLimits
from schema.engine.errors import BadRequest, DirectoryError

Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("tandem")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]{1,255})(?::(\d{0,5}))?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]*)(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_ORIGIN = re.compile(rb"(/[^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_METHOD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}"
# RFC 9112, 3: single spaces, a visible target, HTTP/1.0 or HTTP/1.1.
REQUEST_LINE = re.compile(rb"(?!CONNECT )(" + _METHOD + rb") ([!-~]+) HTTP/(1\.[01])\r\n")
_CONNECT = re.compile(rb"CONNECT [!-~]+ HTTP/1\.[01]\r\n")
_OTHER_VERSION = re.compile(_METHOD + rb" [!-~]+(?: HTTP/[0-9][0-9.]*)?\r\n")
_NOT_ASCII = re.compile(_METHOD + rb" [!-\x7e\x80-\xff]+ HTTP/1\.[01]\r\n")
_PART_OF_LINE = re.compile(rb"[ -~\x80-\xff]*\r?")
_PART_OF_TARGET = re.compile(_METHOD + rb" ([!-~]{1,1000})")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_LONGEST_METHOD = 60
_HIGHEST_PORT = 65_535
_EMPTY = 4
# Hosts that have been found to be well spelled: most requests name one of a few.
HOSTS: set[bytes] = set()
_MOST_HOSTS = 1000
_FEW = 50
_LONGEST_PATH = 300


@dataclass(frozen=True, slots=True)
class Fields:
    """The header fields of a request, and what they say of its framing. `length` is None for a chunked body.

    `named` are the fields by name, as text; None where a name is repeated.
    """

    text: bytes
    headers: Headers
    named: dict[str, str] | None
    length: int | None
    closes: bool
    expects: bool


def fields(text: bytes, version: bytes, limits: ConnectionLimits) -> Fields:
    """The header fields in `text`, whose syntax the parser has accepted.

    Raises:
        BadRequest: `Host` or the framing is not as RFC 9112 (3.2, 6) has it.
        HeadersTooLarge: there are too many.
        NotImplementedHere: a transfer coding other than chunked.
    """
    parts = [line.partition(b":") for line in text[:-4].split(b"\r\n")] if len(text) > _EMPTY else []
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in parts]
    named = dict(headers)
    http_1_1 = version == b"1.1"
    if named.get(b"host") not in HOSTS or not http_1_1 or len(named) < len(headers) or len(headers) > _FEW:
        _check_hosts(headers, http_1_1, limits)
    length: int | None = 0
    if b"transfer-encoding" in named:
        _check_coding(headers, http_1_1)
        length = None
    elif b"content-length" in named:
        length = int(named[b"content-length"])
    by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    # A client of HTTP/1.0 would take 100 Continue for the answer (RFC 9110, 10.1.1).
    expects = http_1_1 and named.get(b"expect", b"").lower() == b"100-continue"
    once = by_name if len(by_name) == len(headers) else None
    return Fields(text, headers, once, length, not http_1_1 or b"close" in connection_options(headers), expects)


def connection_options(headers: Headers) -> list[bytes]:
    """What `Connection` lists, in lower case (RFC 9110, 7.6.1)."""
    listed = b",".join([value.lower() for name, value in headers if name == b"connection"])
    return [option.strip(b" \t") for option in listed.split(b",")]


def not_a_line(head: bytes) -> DirectoryError:
    """What is wrong with a head that does not begin with a `REQUEST_LINE`."""
    if _CONNECT.match(head):
        return problem_details.NotImplementedHere("CONNECT is for proxies")
    if _OTHER_VERSION.match(head):
        return problem_details.VersionNotSupported("HTTP/1.1 is spoken here")
    if _NOT_ASCII.match(head):
        return BadRequest("a URL is spelled in ASCII; all else is percent-encoded")
    return BadRequest("invalid request line: expected a method, a target and HTTP/1.1 with single spaces between them")


def check_partial(partial: bytearray, start: int, line_is_good: bool, limits: ConnectionLimits) -> bool:
    """Refuse an incomplete head that cannot become a good one; what is before `start` has been looked at before.

    Returns whether its request line has been seen and is good.
    """
    if not line_is_good:
        if partial.find(b"\r\n", max(0, start - 1)) >= 0:
            line = REQUEST_LINE.match(partial)
            if line is None:
                raise not_a_line(bytes(partial[: limits.head]))
            check_size(line[2], partial, limits)
            line_is_good = True
        elif not _PART_OF_LINE.fullmatch(partial, max(0, start - 1)):
            raise BadRequest("this is not HTTP/1.1")
        elif len(partial) > limits.url + _LONGEST_METHOD:
            if _PART_OF_TARGET.match(partial):
                raise url_too_long(limits)
            raise BadRequest("this is not HTTP/1.1")
    if _BARE_LINE_FEED.search(partial, start):
        raise BadRequest("a line of the head ends in CR LF")
    if len(partial) > limits.head:
        raise head_too_large(limits)
    return line_is_good


def target_in(head: bytes | bytearray) -> bytes:
    """The beginning of the target in a head that is refused, for its problem document."""
    found = _PART_OF_TARGET.match(head)
    return bytes(found[1]) if found else b""


def check_size(target: bytes, head: bytes | bytearray, limits: ConnectionLimits) -> None:
    """`UriTooLong` or `HeadersTooLarge` for a head of too many bytes."""
    if len(target) > limits.url:
        raise url_too_long(limits)
    if len(head) > limits.head:
        raise head_too_large(limits)


def url_too_long(limits: ConnectionLimits) -> DirectoryError:
    """What a URL of too many bytes is told."""
    return problem_details.UriTooLong(f"a URL may have {limits.url} bytes")


def head_too_large(limits: ConnectionLimits) -> DirectoryError:
    """What a head of too many bytes is told."""
    return problem_details.HeadersTooLarge(f"the head of a request may have {limits.head} bytes")


def target(method: bytes, url: bytes, headers: Headers) -> tuple[bytes, bytes, Headers]:
    """Path, query and headers of a request; the host of an absolute target replaces `Host` (RFC 9112, 3.2.2)."""
    if found := _ORIGIN.fullmatch(url):
        return found[1], found[2] or b"", headers
    if url == b"*" and method == b"OPTIONS":
        return b"*", b"", headers
    found = _ABSOLUTE.fullmatch(url)
    if found is None:
        raise BadRequest("invalid request target: expected an absolute path")
    _check_host(found[1])
    replaced = [(name, found[1] if name == b"host" else value) for name, value in headers]
    return found[2] or b"/", found[3] or b"", replaced


def unreadable(error: Exception) -> DirectoryError:
    """What is wrong with what the parser could not read."""
    if error.__context__ is not None:
        log.error("a request could not be read", exc_info=error.__context__)
        return problem_details.INTERNAL
    if "Request has invalid `Transfer-Encoding`" in str(error):  # which does not end in chunked
        return problem_details.NotImplementedHere("of transfer codings chunked is known here, and no other")
    return BadRequest(f"this is not HTTP/1.1: {error}")


def refusal(error: DirectoryError, url: bytes, stamp: bytes, *, told: bool = False) -> tuple[int, bytes]:
    """The status, and the whole answer, to a request that no endpoint gets to see; the connection ends with it.

    `told`: the log has heard of the like already.
    """
    path, request_id = url.partition(b"?")[0].decode("latin-1") or "/", os.urandom(8).hex()
    answer = problem_details.answer(error, path, request_id)
    level = logging.WARNING if answer.status >= 500 and answer.status != 505 and not told else logging.DEBUG
    log.log(
        level,
        "refused before it was a request",
        extra={"path": path[:_LONGEST_PATH], "status": answer.status, "code": error.code, "request_id": request_id},
    )
    lines = [b": ".join(header) for header in (*answer.headers, *HEADERS)]
    lines += [b"content-length: %d" % len(answer.body), b"cache-control: no-store", b"connection: close"]
    lines += [b"x-request-id: " + request_id.encode()]
    return answer.status, STATUS_LINE[answer.status] + stamp + b"\r\n".join([*lines, b"", answer.body])


def _check_hosts(headers: Headers, http_1_1: bool, limits: ConnectionLimits) -> None:
    """One `Host`, well spelled, and not too many headers."""
    if len(headers) > limits.headers:
        raise problem_details.HeadersTooLarge(f"a request may have {limits.headers} headers")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and http_1_1):
        raise BadRequest(f"a request has one Host; this has {len(hosts) or 'none'}")
    for host in hosts:
        _check_host(host)


def _check_host(host: bytes) -> None:
    if host in HOSTS:
        return
    found = _HOST.fullmatch(host)
    if found is None or int(found[1] or 0) > _HIGHEST_PORT:
        raise BadRequest("Host is not the name or the address of a host, with a port of at most 65535 if there is one")
    if len(HOSTS) < _MOST_HOSTS:
        HOSTS.add(host)


def _check_coding(headers: Headers, http_1_1: bool) -> None:
    """Where a body ends must be beyond doubt: else one request can be hidden in another (RFC 9112, 11.2)."""
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if not http_1_1 or any(name == b"content-length" for name, _ in headers):
        raise BadRequest("Transfer-Encoding stands neither in HTTP/1.0 nor beside Content-Length")
    if codings != [b"chunked"]:
        raise problem_details.NotImplementedHere("of transfer codings chunked is known here, and no other")
