"""What a request's head must be, beyond what the parser sees to (RFC 9112), and what is said where it is not so."""

from __future__ import annotations

import logging
import os
import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.answer import HEADERS
from api.rest import problems
from api.wire.patience import Limits
from schema.engine.errors import BadRequest, DirectoryError

Headers = list[tuple[bytes, bytes]]

log = logging.getLogger("tandem")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%!$&'()*+,;=-]{1,255})(?::\d{0,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]*)(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_ORIGIN = re.compile(rb"(/[^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_OTHER_VERSION = re.compile(rb"[A-Za-z]+ [^\s]+ HTTP/(?!1\.[01]\r?\n)[0-9][0-9.]*\r?\n")
# Hosts that have been found to be well spelled: most requests name one of a few.
HOSTS: set[bytes] = set()
_MOST_HOSTS = 1000
_FEW = 50
_LONGEST_PATH = 300


def is_plain(headers: Headers, named: dict[bytes, bytes]) -> bool:
    """Whether a head with a host that is known to be well spelled needs no closer look, as nearly all do not."""
    return len(named) == len(headers) <= _FEW and b"transfer-encoding" not in named


def check(headers: Headers, version: str, limits: Limits) -> None:
    """`DirectoryError` for a head that must be refused."""
    if version not in ("1.0", "1.1"):
        raise problems.VersionNotSupported(f"this is HTTP/{version}; HTTP/1.1 is spoken here")
    if len(headers) > limits.headers:
        raise problems.HeadersTooLarge(f"a request may have {limits.headers} headers")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadRequest(f"a request has one Host; this has {len(hosts) or 'none'}")
    for host in hosts:
        _check_host(host)
    _check_framing(headers, version)


def check_size(url: bytes, headers: Headers, limits: Limits) -> None:
    """`UriTooLong` or `HeadersTooLarge` for a head of too many bytes."""
    if len(url) > limits.url:
        raise url_too_long(limits)
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > limits.head:
        raise head_too_large(limits)


def url_too_long(limits: Limits) -> DirectoryError:
    """What a URL of too many bytes is told."""
    return problems.UriTooLong(f"a URL may have {limits.url} bytes")


def head_too_large(limits: Limits) -> DirectoryError:
    """What a head of too many bytes is told."""
    return problems.HeadersTooLarge(f"the head of a request may have {limits.head} bytes")


def target(method: str, url: bytes, headers: Headers) -> tuple[bytes, bytes]:
    """The path and the query that a request is for. Of an absolute target the host counts, not that of the header."""
    if method == "CONNECT":
        raise problems.NotImplementedHere("this is no proxy")
    if found := _ORIGIN.fullmatch(url):
        return found[1], found[2] or b""
    if url == b"*" and method == "OPTIONS":
        return b"*", b""
    found = _ABSOLUTE.fullmatch(url)
    if found is None:
        raise BadRequest("that is nothing that can be asked for: a path begins with /")
    _check_host(found[1])
    headers[:] = [(name, found[1] if name == b"host" else value) for name, value in headers]
    return found[2] or b"/", found[3] or b""


def unreadable(error: Exception, data: bytes) -> DirectoryError:
    """What is wrong with what the parser could not read."""
    reason = str(error)
    if isinstance(error.__context__, DirectoryError):
        return error.__context__
    if isinstance(error.__context__, UnicodeError):
        return BadRequest("a URL is spelled in ASCII; all else is percent-encoded")
    if error.__context__ is not None:
        log.error("a request could not be read", exc_info=error.__context__)
        return problems.INTERNAL
    if _OTHER_VERSION.match(data):
        return problems.VersionNotSupported("HTTP/1.1 is spoken here")
    return BadRequest(f"this is not HTTP/1.1 that can be read: {reason}")


def refusal(error: DirectoryError, url: bytes, stamp: bytes, *, told: bool = False) -> tuple[int, bytes]:
    """The status, and the whole answer, to a request that no endpoint gets to see; the connection ends with it.

    `told`: the log has heard of the like already.
    """
    path, request_id = url.partition(b"?")[0].decode("latin-1") or "/", os.urandom(8).hex()
    answer = problems.answer(error, path, request_id)
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


def _check_host(host: bytes) -> None:
    if host in HOSTS:
        return
    if not _HOST.fullmatch(host):
        raise BadRequest("Host is not the name or the address of a host")
    if len(HOSTS) < _MOST_HOSTS:
        HOSTS.add(host)


def _check_framing(headers: Headers, version: str) -> None:
    """Where a body ends must be beyond doubt: else one request can be hidden in another."""
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if not codings:
        return
    if version == "1.0" or any(name == b"content-length" for name, _ in headers):
        raise BadRequest("Transfer-Encoding stands neither in HTTP/1.0 nor beside Content-Length")
    if codings != [b"chunked"]:
        if b",".join(codings).count(b"chunked") > 1:
            raise BadRequest("a body is chunked once")
        raise problems.NotImplementedHere("of transfer codings chunked is known here, and no other")
