"""Database URLs: the path of an SQLite file, or the URL of a PostgreSQL database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

_SCHEME = re.compile(r"(?:postgres|postgresql)(?:\+asyncpg)?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A parsed PostgreSQL URL, with the parameters that only we understand removed.

    `pooled`: behind a pgbouncer in transaction mode; `declared`: the URL says whether it is. `system_roots`: verify
    the server's certificate and name against the host's trusted roots (`sslrootcert=system`).
    """

    url: str
    pooled: bool
    system_roots: bool = False
    declared: bool = False

    @property
    def name(self) -> str:
        """The URL without user, password and parameters, for messages and logs."""
        return re.sub(r"//.*@", "//", self.url.partition("?")[0])


def is_postgres(text: str) -> bool:
    """Whether this is the URL of a PostgreSQL database, rather than the path of a file."""
    return _SCHEME.match(text) is not None


def postgres_address(text: str) -> PostgresAddress:
    """Parse a URL; raise `ValueError` if it names no PostgreSQL database."""
    if not is_postgres(text):
        raise ValueError
    parts = urlsplit(_SCHEME.sub("postgresql://", text, count=1))
    parameters = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    pooled = dict(parameters).get("pgbouncer", "false").lower() in ("true", "1", "yes")
    system_roots = ("sslrootcert", "system") in parameters
    removed = {"pgbouncer", "sslrootcert", "sslmode"} if system_roots else {"pgbouncer"}
    query = urlencode([(name, value) for name, value in parameters if name not in removed], quote_via=quote)
    has_host = parts.hostname or "host" in dict(parameters)
    if not has_host or parts.fragment or len(parts.path) < 2 or (parts.port is not None and not 0 < parts.port < 65536):
        raise ValueError
    return PostgresAddress(
        f"postgresql://{parts.netloc}{parts.path}{'?' if query else ''}{query}",
        pooled,
        system_roots,
        "pgbouncer" in dict(parameters),
    )


def display_name(url: str) -> str:
    """Name a database for messages and logs, without its credentials."""
    return postgres_address(url).name if is_postgres(url) else url
