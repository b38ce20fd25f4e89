"""The URLs that settings hold: each is given as it is to be used, or refused with a `ValueError`."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from schema.engine.database_url import is_postgres, postgres_address


def https(text: str) -> str:
    """A URL that nobody on the way can change; on this machine, any."""
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise ValueError
    return text


def redis(text: str) -> str:
    """A Redis, over the network or a socket."""
    if not re.match(r"(rediss?|redis\+unix)://.+", text):
        raise ValueError
    return text


def database(text: str) -> str:
    """The path of an SQLite file, or the URL of a PostgreSQL."""
    if is_postgres(text):
        postgres_address(text)
        return text
    found = re.fullmatch(r"sqlite(?:\+aiosqlite)?:///(?P<path>[^?#]+)", text)
    if found is None or ":memory:" in text:
        raise ValueError
    return unquote(found["path"])


def replica(text: str) -> str:
    """The URL of a PostgreSQL."""
    postgres_address(text)
    return text
