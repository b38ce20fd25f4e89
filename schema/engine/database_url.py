"""Where a database is: the path of an SQLite file, or the URL of a PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

_SCHEME = re.compile(r"(?:postgres|postgresql)(?:\+asyncpg)?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a database is.

    `pooled`: behind a pgbouncer that gives each transaction another session; `declared`: the URL says whether it is.
    `system_roots`: its certificate is to be one that this machine trusts (`sslrootcert=system`), and for its name.
    """

    url: str
    pooled: bool
    system_roots: bool = False
    declared: bool = False

    @property
    def name(self) -> str:
        """What it may be called where anybody reads it: without the password."""
        return re.sub(r"//.*@", "//", self.url.partition("?")[0])


def is_postgres(text: str) -> bool:
    """Whether this is where a PostgreSQL is, rather than the path of a file."""
    return _SCHEME.match(text) is not None


def postgres_address(text: str) -> PostgresAddress:
    """From a URL of any spelling; `ValueError` where it is none."""
    if not is_postgres(text):
        raise ValueError
    parts = urlsplit(_SCHEME.sub("postgresql://", text, count=1))
    words = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    pooled = dict(words).get("pgbouncer", "false").lower() in ("true", "1", "yes")
    system_roots = ("sslrootcert", "system") in words
    dropped = {"pgbouncer", "sslrootcert", "sslmode"} if system_roots else {"pgbouncer"}
    kept = urlencode([(name, word) for name, word in words if name not in dropped], quote_via=quote)
    hosted = parts.hostname or "host" in dict(words)
    if not hosted or parts.fragment or len(parts.path) < 2 or (parts.port is not None and not 0 < parts.port < 65536):
        raise ValueError
    return PostgresAddress(
        f"postgresql://{parts.netloc}{parts.path}{'?' if kept else ''}{kept}",
        pooled,
        system_roots,
        "pgbouncer" in dict(words),
    )


def display_name(place: str) -> str:
    """What a database may be called where anybody reads it."""
    return postgres_address(place).name if is_postgres(place) else place
