"""The knobs of `settings.py`: each one's name, how its text is read, its default, and what it is for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from api import urls


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting: its name in the environment, how its text is read, its defaults, and what it is for."""

    name: str
    read: Callable[[str], Any]
    takes: str
    meaning: str
    default: str | None
    in_development: str | None = None
    secret: bool = False

    def text(self, given: Mapping[str, str]) -> str | None:
        """What is set, or the default that belongs to the environment."""
        development = given.get("TANDEM_ENV", "").strip().lower() == "development"
        default = self.in_development or self.default if development else self.default
        return given.get(self.name, "").strip() or default


def _text(text: str) -> str:
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def chosen(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError
        return text.lower()

    return chosen


def _integer(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return number


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text, re.ASCII) or not 0.1 <= float(text) <= 300:
        raise ValueError
    return float(text)


def _listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """None where nothing is set."""
    return lambda text: read(text) if text else None


def _hosts(text: str) -> tuple[str, ...]:
    """Names of hosts in lower case; `*.example.com` stands for every name below example.com, `*` for all."""
    names = tuple(name.lower() for name in _listed(text))
    if not all(name == "*" or re.fullmatch(r"(\*\.)?[a-z0-9.-]+|\[[0-9a-f:.]+\]", name) for name in names):
        raise ValueError
    return names


def _origins(text: str) -> tuple[str, ...]:
    """Origins as a browser writes them (RFC 6454, section 6.2): scheme, host, and port where it is not the default."""
    origins = tuple(origin.lower() for origin in _listed(text))
    if not all(re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", origin) for origin in origins):
        raise ValueError
    return origins


def _proxies(text: str) -> int | tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    single = re.fullmatch("[1-9]", text)
    return int(text) if single else tuple(ipaddress.ip_network(part) for part in _listed(text))


def _secrets(text: str) -> tuple[tuple[str | None, bytes], ...]:
    """One secret without a name, or several, each after its `kid`; each of at least 32 bytes."""
    pairs = [(name, secret) for name, _, secret in (part.partition(":") for part in _listed(text))]
    if not all(name and secret for name, secret in pairs) or (len(pairs) == 1 and len(pairs[0][1].encode()) < 32):
        return _whole(text)
    names = {name for name, _ in pairs}
    if len(names) < len(pairs) or any(len(secret.encode()) < 32 for _, secret in pairs):
        raise ValueError
    return tuple((name, secret.encode()) for name, secret in pairs)


def _whole(text: str) -> tuple[tuple[str | None, bytes], ...]:
    if 0 < len(text.encode()) < 32:
        raise ValueError
    return ((None, text.encode()),) if text else ()


def _token(text: str) -> str:
    """What may stand after `Bearer` (RFC 6750)."""
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,}=*", text):
        raise ValueError
    return text


KNOBS: dict[str, Knob] = {
    "environment": Knob(
        "TANDEM_ENV", _one_of("production", "development"), "production or development",
        "In development the service serves its own machine alone, and who calls from there is an administrator.",
        "production",
    ),
    "host": Knob(
        "HOST", _text, "an address to listen on",
        "Where to listen: in development on this machine alone, in production on all addresses.",
        "::", "127.0.0.1",
    ),
    "port": Knob("PORT", _integer(1, 65535), "a port, 1 to 65535", "The port to listen on.", "8000"),
    "database": Knob(
        "DATABASE_URL", urls.database, "sqlite:///path, with a fourth slash for an absolute path, or postgresql://…",
        "The database; in development a file in the working folder.",
        None, "sqlite:///tandem.db", secret=True,
    ),
    "read_database": Knob(
        "TANDEM_READ_DATABASE_URL", _optional(urls.replica), "postgresql://…",
        "A replica of a PostgreSQL that is read from; who has just written reads from DATABASE_URL.", "", secret=True,
    ),
    "pool": Knob(
        "TANDEM_POOL", _integer(1, 1000), "a number, 1 to 1000",
        "How many connections to a PostgreSQL each process has at most.", "10",
    ),
    "workers": Knob(
        "WEB_CONCURRENCY", _integer(1, 256), "a number, 1 to 256; SQLite serves one process",
        "How many processes serve.", "1",
    ),
    "log_level": Knob(
        "LOG_LEVEL", _one_of("debug", "info", "warning", "error"), "debug, info, warning or error",
        "How much is logged.", "info",
    ),
    "body_limit": Knob(
        "TANDEM_BODY_LIMIT", _integer(1024, 2**26), "bytes, 1024 to 67108864",
        "The largest body that the REST door takes, in bytes.", str(256 * 1024),
    ),
    "graphql_body_limit": Knob(
        "TANDEM_GRAPHQL_BODY_LIMIT", _integer(1024, 2**26), "bytes, 1024 to 67108864",
        "The largest body that the GraphQL door takes, in bytes.", str(128 * 1024),
    ),
    "request_timeout": Knob(
        "TANDEM_REQUEST_TIMEOUT", _seconds, "seconds, 0.1 to 300",
        "How long the database may take to answer; past it, a request is answered with 503.", "15",
    ),
    "secret_keys": Knob(
        "SECRET_KEY", _secrets, "a secret of at least 32 bytes, or kid:secret pairs with commas between them",
        "Signs and verifies HS256 tokens; of several the first signs and all verify. Unset, HS256 is off.",
        "", secret=True,
    ),
    "jwt_audience": Knob(
        "TANDEM_JWT_AUDIENCE", _text, "a name", "The audience that HS256 tokens must be meant for.", "tandem",
    ),
    "jwt_subject": Knob(
        "TANDEM_JWT_SUBJECT", _one_of("external_id", "id"), "external_id or id",
        "Which field of a user a token's subject is matched with.", "external_id",
    ),
    "jwt_roles_claim": Knob(
        "TANDEM_JWT_ROLES_CLAIM", _text, "the name of a claim", "The claim that holds a token's roles.", "roles",
    ),
    "oidc_issuer": Knob(
        "TANDEM_OIDC_ISSUER", _optional(urls.https), "an https:// URL",
        "The OpenID issuer whose tokens are taken: RS256, ES256 or EdDSA.", "",
    ),
    "oidc_audience": Knob(
        "TANDEM_OIDC_AUDIENCE", _optional(_text), "a name",
        "The audience that the issuer's tokens must be meant for.", "",
    ),
    "jwks_file": Knob(
        "TANDEM_JWKS_FILE", _optional(_text), "the path of a file",
        "The issuer's keys (RFC 7517), where its own address cannot be reached.", "",
    ),
    "allowed_hosts": Knob(
        "TANDEM_ALLOWED_HOSTS", _hosts, "host names with commas between them, *.example.com or *",
        "The names that this server answers to; unset, to any.", "*",
    ),
    "cors_origins": Knob(
        "TANDEM_CORS_ORIGINS", _origins, "origins with commas between them, such as https://app.example.com",
        "The origins whose pages may call this server from a browser.", "",
    ),
    "trusted_proxies": Knob(
        "TANDEM_TRUSTED_PROXIES", _proxies, "addresses or networks with commas between them, or a number, 1 to 9",
        "The proxies whose X-Forwarded-For and -Proto are believed, or how many there are (docs/limits.md).", "",
    ),
    "rate": Knob(
        "TANDEM_RATE", _integer(0, 10**9), "points a minute, 0 for none",
        "Points a minute by address for requests without a valid credential; a mutation is 5.", "600", "0",
    ),
    "credential_rate": Knob(
        "TANDEM_CREDENTIAL_RATE", _integer(0, 10**9), "points a minute, 0 for no limit",
        "Points a minute by credential, unless a key has a rate of its own.", "0",
    ),
    "rate_limit_url": Knob(
        "TANDEM_RATE_LIMIT_URL", _optional(urls.redis), "a redis:// or rediss:// URL",
        "The Redis in which several processes share their counts.", "", secret=True,
    ),
    "running": Knob(
        "TANDEM_RUNNING", _integer(1, 100_000), "a number, 1 to 100000",
        "How many requests run at a time; twice as many wait for 250 ms, the rest are answered with 503.", "64",
    ),
    "credential_share": Knob(
        "TANDEM_CREDENTIAL_SHARE", _integer(1, 100), "percent, 1 to 100",
        "How much of the running places, readers and connections one credential may hold while others want them.", "25",
    ),
    "connections": Knob("TANDEM_CONNECTIONS", _integer(1, 1_000_000), "a number, 1 to 1000000",
                        "How many connections may be open.", "4096"),
    "sockets": Knob(
        "TANDEM_SOCKETS", _integer(0, 1_000_000), "a number, 0 to 1000000", "How many WebSockets may be open.", "1000",
    ),
    "sockets_per_address": Knob(
        "TANDEM_SOCKETS_PER_ADDRESS", _integer(0, 1_000_000), "a number, 0 to 1000000, 0 for no limit",
        "How many WebSockets an address may have open without a valid credential.", "20",
    ),
    "graphql_depth": Knob(
        "TANDEM_GRAPHQL_DEPTH", _integer(1, 100), "a number, 1 to 100", "How deep a GraphQL query may nest.", "15",
    ),
    "graphql_records": Knob(
        "TANDEM_GRAPHQL_RECORDS", _integer(1, 10**9), "a number, 1 to 1000000000",
        "How many records one GraphQL query could bring back at most.", "10000",
    ),
    "metrics_token": Knob(
        "TANDEM_METRICS_TOKEN", _optional(_token), "at least 16 letters, digits or -._~+/=",
        "A bearer token that opens /metrics and nothing else; an administrator's key opens it in any case.",
        "", secret=True,
    ),
    "tracing": Knob(
        "TANDEM_TRACING", _one_of("off", *(["on"] if find_spec("opentelemetry") else [])),
        "off, or on where opentelemetry-api is installed",
        "Whether requests and their trips to the database are told to OpenTelemetry.", "off",
    ),
}  # fmt: skip
