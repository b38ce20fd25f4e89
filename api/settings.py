"""The settings of this process, read from environment variables. No other module reads the environment.

A new setting is a field of `Settings`. `python -m api settings` lists them all.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema.engine.database_url import is_postgres, postgres_address

DEVELOPMENT_DEFAULTS = {"HOST": "127.0.0.1", "DATABASE_URL": "sqlite:///tandem.db", "TANDEM_RATE": "0"}


class InvalidSetting(Exception):
    """A setting that Tandem cannot start with."""


def _matching(pattern: str) -> BeforeValidator:
    """Check the whole text. Of numbers pydantic alone also takes spellings such as `80.0`, `8_0` and `+80`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError
        return text

    return BeforeValidator(check)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _hosts(text: str) -> tuple[str, ...]:
    names = _parts(text.lower())
    if not all(name == "*" or re.fullmatch(r"(\*\.)?[a-z0-9.-]+|\[[0-9a-f:.]+\]", name) for name in names):
        raise ValueError
    return names


def _origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454, 6.2): scheme, host, and port unless it is the default."""
    origins = _parts(text.lower())
    if not all(re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", origin) for origin in origins):
        raise ValueError
    return origins


def _proxies(text: str) -> int | tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    is_count = re.fullmatch("[1-9]", text)
    return int(text) if is_count else tuple(ipaddress.ip_network(part) for part in _parts(text))


def _secrets(text: str) -> tuple[tuple[str | None, bytes], ...]:
    """One secret without a `kid`, or `kid:secret` pairs; a single secret may contain colons and commas itself."""
    pairs: list[tuple[str | None, bytes]]
    pairs = [(kid, secret.encode()) for kid, _, secret in (part.partition(":") for part in _parts(text))]
    if not all(kid and secret for kid, secret in pairs) or (len(pairs) == 1 and len(pairs[0][1]) < 32):
        pairs = [(None, text.encode())]
    if len({kid for kid, _ in pairs}) < len(pairs) or any(len(secret) < 32 for _, secret in pairs):
        raise ValueError
    return tuple(pairs)


def _database(text: str) -> str:
    """The path of an SQLite file, or the URL of a PostgreSQL server."""
    if is_postgres(text):
        return _postgres(text)
    match = re.fullmatch(r"sqlite(?:\+aiosqlite)?:///(?P<path>[^?#]+)", text)
    if match is None or ":memory:" in text:
        raise ValueError
    return unquote(match["path"])


def _postgres(text: str) -> str:
    postgres_address(text)
    return text


def _https(text: str) -> str:
    """Plain HTTP is accepted on loopback alone."""
    url = urlsplit(text)
    local = url.scheme == "http" and url.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.hostname or not (url.scheme == "https" or local):
        raise ValueError
    return text


def _switch(text: str) -> str:
    if text == "on" and not find_spec("opentelemetry"):
        raise ValueError
    return text


def _setting(name: str, default: Any, takes: str, meaning: str, *, secret: bool = False, **bounds: Any) -> Any:
    """A field read from the variable `name`. `takes` completes the error message; a secret's value is never shown."""
    extra: dict[str, Any] = {"takes": takes}
    return Field(
        default, validation_alias=name, description=meaning, json_schema_extra=extra, repr=not secret, **bounds
    )


def _integer(name: str, default: int, least: int, most: int, meaning: str, unit: str = "a number") -> Any:
    return _setting(name, default, f"{unit}, {least} to {most}", meaning, ge=least, le=most)


Integer = Annotated[int, _matching(r"\d{1,12}")]
LOWER = BeforeValidator(str.lower)


class Settings(BaseSettings):
    """Each field is one environment variable; its annotation is how the text is checked and parsed."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        case_sensitive=True,
        enable_decoding=False,
        validate_default=False,
        hide_input_in_errors=True,
    )

    # fmt: off
    environment: Annotated[Literal["production", "development"], LOWER] = _setting(
        "TANDEM_ENV", "production", "production or development",
        "In development the server listens on loopback, and local requests without a credential act as administrator."
    )
    host: str = _setting(
        "HOST", "::", "an address to listen on",
        "The address to listen on: loopback in development, all addresses in production."
    )
    port: Integer = _integer("PORT", 8000, 1, 65535, "The port to listen on.", "a port")
    database: Annotated[str, BeforeValidator(_database)] = _setting(
        "DATABASE_URL", ..., "sqlite:///path, with a fourth slash for an absolute path, or postgresql://…",
        "The database; in development a file in the working folder by default.", secret=True
    )
    read_database: Annotated[str | None, BeforeValidator(_postgres)] = _setting(
        "TANDEM_READ_DATABASE_URL", None, "postgresql://…",
        "A PostgreSQL replica for reads; an actor that has just written reads from DATABASE_URL.", secret=True
    )
    pool: Integer = _integer("TANDEM_POOL", 10, 1, 1000, "Maximum PostgreSQL connections per process.")
    workers: Integer = _integer("WEB_CONCURRENCY", 1, 1, 256, "The number of server processes; SQLite supports one.")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = _setting(
        "LOG_LEVEL", "info", "debug, info, warning or error", "The least severe level that is logged."
    )
    body_limit: Integer = _integer(
        "TANDEM_BODY_LIMIT", 256 * 1024, 1024, 2**26, "Maximum size of a REST request body.", "bytes"
    )
    graphql_body_limit: Integer = _integer(
        "TANDEM_GRAPHQL_BODY_LIMIT", 128 * 1024, 1024, 2**26, "Maximum size of a GraphQL request body.", "bytes"
    )
    request_timeout: Annotated[float, _matching(r"\d{1,3}(\.\d+)?")] = _setting(
        "TANDEM_REQUEST_TIMEOUT", 15.0, "seconds, 0.1 to 300",
        "Maximum time for a request's database work; after that the response is 503.", ge=0.1, le=300
    )
    secret_keys: Annotated[tuple[tuple[str | None, bytes], ...], BeforeValidator(_secrets)] = _setting(
        "SECRET_KEY", (), "a secret of at least 32 bytes, or comma-separated kid:secret pairs",
        "Signs and verifies HS256 tokens; the first of several signs, all verify. Unset, HS256 is off.", secret=True
    )
    jwt_audience: str = _setting(
        "TANDEM_JWT_AUDIENCE", "tandem", "a name", "The audience (`aud`) that HS256 tokens must have."
    )
    jwt_subject: Annotated[Literal["external_id", "id"], LOWER] = _setting(
        "TANDEM_JWT_SUBJECT", "external_id", "external_id or id", "The field of a user that a token's `sub` must equal."
    )
    jwt_roles_claim: str = _setting(
        "TANDEM_JWT_ROLES_CLAIM", "roles", "the name of a claim", "The claim that holds a token's roles."
    )
    oidc_issuer: Annotated[str | None, BeforeValidator(_https)] = _setting(
        "TANDEM_OIDC_ISSUER", None, "an https:// URL",
        "The OpenID issuer whose tokens are accepted: RS256, ES256 or EdDSA."
    )
    oidc_audience: str | None = _setting(
        "TANDEM_OIDC_AUDIENCE", None, "a name", "The audience (`aud`) that the issuer's tokens must have."
    )
    jwks_file: str | None = _setting(
        "TANDEM_JWKS_FILE", None, "the path of a file",
        "A file with the issuer's keys (RFC 7517), where the issuer cannot be reached over the network."
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = _setting(
        "TANDEM_ALLOWED_HOSTS", ("*",), "comma-separated host names, *.example.com or *",
        "The host names that this server answers to; by default any."
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_origins)] = _setting(
        "TANDEM_CORS_ORIGINS", (), "comma-separated origins, such as https://app.example.com",
        "The origins whose pages may call this server from a browser."
    )
    trusted_proxies: Annotated[
        int | tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], BeforeValidator(_proxies)
    ] = _setting(
        "TANDEM_TRUSTED_PROXIES", (), "comma-separated addresses or networks, or a number, 1 to 9",
        "The proxies whose X-Forwarded-For and -Proto are trusted, or their number (docs/limits.md)."
    )
    rate: Integer = _integer(
        "TANDEM_RATE", 600, 0, 10**9,
        "Rate limit by address for requests without a valid credential; a mutation costs 5; 0 turns it off.",
        "points a minute"
    )
    credential_rate: Integer = _integer(
        "TANDEM_CREDENTIAL_RATE", 0, 0, 10**9, "Rate limit by credential, unless a key has its own; 0 turns it off.",
        "points a minute"
    )
    rate_limit_url: Annotated[str | None, _matching(r"(rediss?|redis\+unix)://.+")] = _setting(
        "TANDEM_RATE_LIMIT_URL", None, "a redis:// or rediss:// URL",
        "The Redis in which several processes share their counts.", secret=True
    )
    running: Integer = _integer(
        "TANDEM_RUNNING", 64, 1, 100_000,
        "Maximum concurrent requests; twice as many wait for up to 250 ms, the rest get 503."
    )
    credential_share: Integer = _integer(
        "TANDEM_CREDENTIAL_SHARE", 25, 1, 100,
        "The part of concurrent requests, readers and connections that one credential may hold while others wait.",
        "percent"
    )
    connections: Integer = _integer("TANDEM_CONNECTIONS", 4096, 1, 1_000_000, "Maximum open connections.")
    sockets: Integer = _integer("TANDEM_SOCKETS", 1000, 0, 1_000_000, "Maximum open WebSockets.")
    sockets_per_address: Integer = _integer(
        "TANDEM_SOCKETS_PER_ADDRESS", 20, 0, 1_000_000,
        "Maximum open WebSockets of one address without a valid credential; 0 for no limit."
    )
    graphql_depth: Integer = _integer("TANDEM_GRAPHQL_DEPTH", 15, 1, 100, "Maximum nesting of a GraphQL document.")
    graphql_records: Integer = _integer(
        "TANDEM_GRAPHQL_RECORDS", 10_000, 1, 10**9, "Maximum records that one GraphQL query could return."
    )
    # The token syntax of RFC 6750, section 2.1.
    metrics_token: Annotated[str | None, _matching(r"[A-Za-z0-9._~+/-]{16,}=*")] = _setting(
        "TANDEM_METRICS_TOKEN", None, "at least 16 letters, digits or -._~+/=",
        "A bearer token for /metrics alone; administrators' keys are accepted there in any case.", secret=True
    )
    tracing: Annotated[Literal["off", "on"], BeforeValidator(_switch), LOWER] = _setting(
        "TANDEM_TRACING", "off", "off, or on where opentelemetry-api is installed",
        "Whether requests and their database queries are traced with OpenTelemetry."
    )
    # fmt: on

    @property
    def development(self) -> bool:
        """Whether TANDEM_ENV is `development`."""
        return self.environment == "development"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, texts: dict[str, str]) -> dict[str, str]:
        """Treat blank variables as unset, and apply the defaults of the environment."""
        stripped = {name: text.strip() for name, text in texts.items() if text.strip()}
        development = stripped.get("TANDEM_ENV", "").lower() == "development"
        return DEVELOPMENT_DEFAULTS | stripped if development else stripped


FIELDS = {str(field.validation_alias): field for field in Settings.model_fields.values()}


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the process's environment, or from a mapping in its place.

    Raises:
        InvalidSetting: one sentence with the setting's name, what it must be and the value.
    """
    # What is passed takes precedence over the process's environment, so a mapping is passed with all names.
    texts = {} if environment is None else {name: environment.get(name, "") for name in FIELDS}
    try:
        settings = Settings.model_validate(texts)
    except ValidationError as error:
        raise InvalidSetting(_message(error)) from None
    _check_combinations(settings)
    return settings


def list_settings(environment: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """List each setting's name, present value and meaning; secrets are masked."""
    environment = os.environ if environment is None else environment
    rows = []
    development = environment.get("TANDEM_ENV", "").strip().lower() == "development"
    for name, field in FIELDS.items():
        default = DEVELOPMENT_DEFAULTS.get(name) if development else None
        text = environment.get(name, "").strip() or default or _text(field.default)
        rows.append((name, text if field.repr else _masked(text), field.description or ""))
    return rows


def _message(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    field = FIELDS[name]
    assert isinstance(field.json_schema_extra, dict)
    expected = field.json_schema_extra["takes"]
    if first["type"] == "missing":
        return f"{name} must be set to {expected}"
    return f"{name} must be {expected}" + (f", got {first['input']!r}" if field.repr else "")


def _check_combinations(settings: Settings) -> None:
    if settings.oidc_issuer and not settings.oidc_audience:
        raise InvalidSetting("TANDEM_OIDC_AUDIENCE must be set with TANDEM_OIDC_ISSUER, to a name")
    if settings.jwks_file and not settings.oidc_issuer:
        raise InvalidSetting("TANDEM_OIDC_ISSUER must be set with TANDEM_JWKS_FILE, to an https:// URL")
    if settings.jwks_file and not Path(settings.jwks_file).is_file():
        raise InvalidSetting(f"TANDEM_JWKS_FILE must be the path of a file, got {settings.jwks_file!r}")
    if is_postgres(settings.database):
        return
    if settings.workers > 1:
        raise InvalidSetting(
            f"WEB_CONCURRENCY must be 1 on SQLite, got {settings.workers}: set it to 1, or use PostgreSQL"
        )
    if settings.read_database:
        raise InvalidSetting("TANDEM_READ_DATABASE_URL must be unset on SQLite, which has no replicas")


def _text(default: object) -> str:
    """Write a default as it would be set."""
    if default is None or default is PydanticUndefined:
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _masked(text: str) -> str:
    """Hide a secret; of a URL only the credentials in it."""
    if "://" not in text:
        return "***" if text else ""
    return re.sub(r"password=[^&]*", "password=***", re.sub(r"//.*@", "//***@", text))
