"""Settings: defaults, parsing, the sentence for an invalid value, and secrets that are never shown."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from api.settings import InvalidSetting, Settings, list_settings, read_settings

DEVELOPMENT = {"TANDEM_ENV": "development"}
PRODUCTION = {"DATABASE_URL": "sqlite:////srv/tandem.db"}


def test_development_needs_no_settings():
    settings = read_settings(DEVELOPMENT)

    assert settings.development
    assert (settings.host, settings.port, settings.database) == ("127.0.0.1", 8000, "tandem.db")


def test_production_is_the_default_environment():
    settings = read_settings(PRODUCTION)

    assert not settings.development
    assert (settings.environment, settings.host, settings.workers) == ("production", "::", 1)


def test_production_requires_a_database():
    with pytest.raises(InvalidSetting, match=r"DATABASE_URL must be set to sqlite:///path"):
        read_settings({})


@pytest.mark.parametrize(
    "name, value, field, expected",
    [
        ("PORT", "1", "port", 1),
        ("PORT", "65535", "port", 65535),
        ("PORT", " 80 ", "port", 80),
        ("PORT", "", "port", 8000),
        ("HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("DATABASE_URL", "sqlite:///a.db", "database", "a.db"),
        ("DATABASE_URL", "sqlite:////srv/a.db", "database", "/srv/a.db"),
        ("DATABASE_URL", "sqlite+aiosqlite:///a.db", "database", "a.db"),
        ("DATABASE_URL", "sqlite:///a%20b.db", "database", "a b.db"),
        ("DATABASE_URL", "postgres://ada:x@h/d?sslmode=require", "database", "postgres://ada:x@h/d?sslmode=require"),
        ("DATABASE_URL", "postgresql+asyncpg://h/d", "database", "postgresql+asyncpg://h/d"),
        ("TANDEM_POOL", "20", "pool", 20),
        ("TANDEM_READ_DATABASE_URL", "", "read_database", None),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("TANDEM_BODY_LIMIT", "1024", "body_limit", 1024),
        ("TANDEM_GRAPHQL_BODY_LIMIT", "67108864", "graphql_body_limit", 2**26),
        ("TANDEM_REQUEST_TIMEOUT", "0.1", "request_timeout", 0.1),
        ("SECRET_KEY", "", "secret_keys", ()),
        ("SECRET_KEY", "s" * 32, "secret_keys", ((None, b"s" * 32),)),
        ("SECRET_KEY", "s:" * 16, "secret_keys", ((None, b"s:" * 16),)),
        ("SECRET_KEY", f"a:{'s' * 32}, b:{'t' * 32}", "secret_keys", (("a", b"s" * 32), ("b", b"t" * 32))),
        ("TANDEM_ALLOWED_HOSTS", "A.example.com, *.b.example", "allowed_hosts", ("a.example.com", "*.b.example")),
        ("TANDEM_CORS_ORIGINS", "https://App.example:8443", "cors_origins", ("https://app.example:8443",)),
        ("TANDEM_TRUSTED_PROXIES", "1", "trusted_proxies", 1),
        ("TANDEM_TRUSTED_PROXIES", "10.0.0.0/8,::1", "trusted_proxies", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        ("TANDEM_OIDC_ISSUER", "", "oidc_issuer", None),
        ("TANDEM_OIDC_ISSUER", "https://id.example.com/", "oidc_issuer", "https://id.example.com/"),
        ("TANDEM_OIDC_ISSUER", "http://127.0.0.1:9/", "oidc_issuer", "http://127.0.0.1:9/"),
        ("TANDEM_REQUEST_TIMEOUT", "300", "request_timeout", 300.0),
    ],
)
def test_a_setting_is_parsed(name, value, field, expected):
    assert getattr(read_settings({**DEVELOPMENT, "TANDEM_OIDC_AUDIENCE": "directory", name: value}), field) == expected


@pytest.mark.parametrize(
    "name, value",
    [
        ("TANDEM_ENV", "test"),
        ("TANDEM_ENV", "dev"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "80.0"),
        ("PORT", "-1"),
        ("PORT", "٨٠"),
        ("PORT", "9" * 5000),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "257"),
        ("LOG_LEVEL", "loud"),
        ("TANDEM_BODY_LIMIT", "1023"),
        ("TANDEM_BODY_LIMIT", "67108865"),
        ("TANDEM_GRAPHQL_BODY_LIMIT", "1k"),
        ("TANDEM_REQUEST_TIMEOUT", "0"),
        ("TANDEM_REQUEST_TIMEOUT", "0.09"),
        ("TANDEM_REQUEST_TIMEOUT", "301"),
        ("TANDEM_REQUEST_TIMEOUT", "inf"),
        ("TANDEM_REQUEST_TIMEOUT", "nan"),
        ("TANDEM_REQUEST_TIMEOUT", "1e2"),
        ("TANDEM_ALLOWED_HOSTS", "https://a.example"),
        ("TANDEM_CORS_ORIGINS", "*"),
        ("TANDEM_CORS_ORIGINS", "https://a.example/"),
        ("TANDEM_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TANDEM_TRUSTED_PROXIES", "proxy"),
        ("TANDEM_TRUSTED_PROXIES", "0"),
        ("TANDEM_OIDC_ISSUER", "http://id.example.com"),
        ("TANDEM_JWT_SUBJECT", "email"),
        ("TANDEM_RATE", "-1"),
        ("TANDEM_RUNNING", "0"),
        ("TANDEM_GRAPHQL_DEPTH", "101"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_an_invalid_setting_is_reported_with_its_value_and_what_it_must_be(name, value):
    with pytest.raises(InvalidSetting) as error:
        read_settings({**DEVELOPMENT, name: value})

    sentence = str(error.value)
    assert sentence.startswith(f"{name} must be ")
    assert sentence.endswith(f", got {value!r}")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "value",
    [
        "tandem.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "postgres://ada:secret@db.example.com",
        "postgres://ada:secret@db.example.com:port/tandem",
        "mysql://ada:secret@db.example.com/tandem",
        "secret",
    ],
)
def test_an_invalid_database_url_is_not_shown(value):
    with pytest.raises(InvalidSetting) as error:
        read_settings({**DEVELOPMENT, "DATABASE_URL": value})

    assert str(error.value).startswith("DATABASE_URL must be sqlite:///path")
    assert "secret" not in str(error.value)


def test_workers_and_replicas_require_postgresql():
    server = "postgres://h/d"

    assert read_settings({"DATABASE_URL": server, "WEB_CONCURRENCY": "4"}).workers == 4
    assert (
        read_settings({"DATABASE_URL": server, "TANDEM_READ_DATABASE_URL": "postgres://r/d"}).read_database
        == "postgres://r/d"
    )
    with pytest.raises(InvalidSetting, match=r"^WEB_CONCURRENCY must be 1 on SQLite, got 4"):
        read_settings({**PRODUCTION, "WEB_CONCURRENCY": "4"})
    with pytest.raises(InvalidSetting, match=r"^TANDEM_READ_DATABASE_URL must be unset on SQLite"):
        read_settings({**PRODUCTION, "TANDEM_READ_DATABASE_URL": server})


@pytest.mark.parametrize("value", ["short", "s" * 31, f"a:{'s' * 32},b:short", f"a:{'s' * 32},a:{'t' * 32}"])
def test_a_weak_secret_is_not_shown(value):
    with pytest.raises(InvalidSetting) as error:
        read_settings({**DEVELOPMENT, "SECRET_KEY": value})

    assert str(error.value).startswith("SECRET_KEY must be a secret of at least 32 bytes")


@pytest.mark.parametrize("value", ["development", "Development", " DEVELOPMENT "])
def test_the_environment_ignores_case_and_spaces(value):
    assert read_settings({"TANDEM_ENV": value}) == read_settings(DEVELOPMENT)


def test_all_settings_are_listed_with_value_and_meaning():
    shown = {name: (value, meaning) for name, value, meaning in list_settings({**DEVELOPMENT, "PORT": "81"})}

    assert shown["PORT"][0] == "81"
    assert shown["HOST"][0] == "127.0.0.1"
    assert len(shown) == len(Settings.model_fields)
    assert all(meaning.endswith(".") for _, meaning in shown.values())
    assert all(
        name.startswith("TANDEM_")
        or name in {"PORT", "HOST", "DATABASE_URL", "WEB_CONCURRENCY", "LOG_LEVEL", "SECRET_KEY"}
        for name in shown
    )


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sqlite:///tandem.db", "sqlite:///tandem.db"),
        ("postgres://ada:secret@db.example.com/tandem", "postgres://***@db.example.com/tandem"),
        ("postgres:///tandem?host=/run&password=secret&x=y", "postgres:///tandem?host=/run&password=***&x=y"),
        ("postgres://secret@db.example.com/tandem", "postgres://***@db.example.com/tandem"),
        ("postgres://ada:se/cret@db.example.com/tandem", "postgres://***@db.example.com/tandem"),
        ("postgres://ada:secret@x@db.example.com/tandem", "postgres://***@db.example.com/tandem"),
    ],
)
def test_credentials_in_a_url_are_masked(url, shown):
    values = {name: value for name, value, _ in list_settings({"DATABASE_URL": url})}

    assert values["DATABASE_URL"] == shown


def test_a_secret_is_masked():
    values = {name: value for name, value, _ in list_settings({**DEVELOPMENT, "SECRET_KEY": "s" * 32})}

    assert values["SECRET_KEY"] == "***"


def test_the_representation_of_settings_holds_no_secrets():
    settings = read_settings({**DEVELOPMENT, "SECRET_KEY": "s" * 32, "DATABASE_URL": "postgres://ada:hidden@h/d"})

    assert "ssss" not in repr(settings)
    assert "hidden" not in repr(settings)


def test_a_given_mapping_replaces_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "81")
    monkeypatch.setenv("TANDEM_ENV", "development")

    assert read_settings({**PRODUCTION}).port == 8000
    assert read_settings().port == 81
