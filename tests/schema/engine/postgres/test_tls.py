"""TLS with PostgreSQL is as the URL demands, or there is no connection; the error says what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import struct
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.database_url import postgres_address
from schema.engine.errors import DatabaseMisconfigured, DatabaseUnavailable
from schema.engine.operations.directory import Directory

pytestmark = pytest.mark.postgres

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
NOW = datetime.datetime.now(datetime.UTC)
PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self._signed(self._name, self._key, ca=True).public_bytes(PEM))

    def certify(self, host: str, until: datetime.timedelta = datetime.timedelta(days=1)) -> tuple[Path, Path]:
        """Issue a certificate for a host, and return the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        files = self._folder / f"{host}.crt", self._folder / f"{host}.key"
        files[0].write_bytes(self._signed(subject, key, host, until).public_bytes(PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        files[1].write_bytes(key.private_bytes(PEM, *plain))
        return files

    def _signed(self, subject, key, host="", until=datetime.timedelta(days=1), *, ca=False):
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=9))
            .not_valid_after(NOW + until)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """The trusted one, and another one."""
    folder = tmp_path_factory.mktemp("certificates")
    return Authority(folder, "ours"), Authority(folder, "theirs")


class TLSProxy:
    """TLS in proxy of PostgreSQL, by its protocol: the wheel for tests was built without TLS.

    `certificate` is what it presents, with its key; without one it supports no TLS. `versions` lists those used.
    """

    def __init__(self, socket: str, database: str) -> None:
        self._socket, self.database = socket, database
        self.certificate: tuple[Path, Path] | None = None
        self.versions: list[str | None] = []
        self.port = 0

    async def serve(self, started: threading.Event, ended: asyncio.Event) -> None:
        async with await asyncio.start_server(self._serve_client, "127.0.0.1", 0) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            started.set()
            await ended.wait()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            first, version = await reader.readexactly(8), None
            if first == SSL_REQUEST:
                writer.write(b"S" if self.certificate else b"N")
                if self.certificate:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(*self.certificate)
                    await writer.start_tls(context)
                    version = writer.get_extra_info("ssl_object").version()
                first = b""
            self.versions.append(version)
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
            server_writer.write(first)
            await asyncio.gather(_forward(reader, server_writer), _forward(server_reader, writer))
        writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def proxy(migrated, authorities):
    """The tests' database at `localhost`, behind TLS."""
    folder = dict(parse_qsl(urlsplit(migrated).query))["host"]
    proxy, started = TLSProxy(f"{folder}/.s.PGSQL.5432", urlsplit(migrated).path), threading.Event()
    proxy.certificate = authorities[0].certify("localhost")
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.serve(started, ended)))
    thread.start()
    assert started.wait(10)
    yield proxy
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()


def url_of(proxy, query, host="localhost"):
    """The proxy's URL, with a password in it."""
    return f"postgresql://postgres:hush-hush@{host}:{proxy.port}{proxy.database}?{query}"


async def connect(url):
    """Read something from the database."""
    async with Directory(url, deadline=5) as directory:
        return await directory.read([("SELECT version_num FROM alembic_version", ())])


@pytest.mark.parametrize(
    "query, host",
    [
        ("sslmode=require", "127.0.0.1"),
        ("sslmode=prefer", "127.0.0.1"),
        ("sslmode=verify-ca&sslrootcert={ours}", "127.0.0.1"),
        ("sslmode=verify-full&sslrootcert={ours}", "localhost"),
    ],
)
async def test_the_connection_is_encrypted_as_sslmode_demands(proxy, authorities, query, host):
    await connect(url_of(proxy, query.format(ours=authorities[0].path), host))

    assert proxy.versions == ["TLSv1.3"]


async def test_sslmode_disable_uses_no_tls(proxy):
    await connect(url_of(proxy, "sslmode=disable"))

    assert proxy.versions == [None]


UNTRUSTED = "not signed by a trusted authority"
INSECURE = {
    "an unknown authority": (
        "sslmode=verify-ca&sslrootcert={theirs}",
        "127.0.0.1",
        "not signed by a trusted authority",
    ),
    "an unknown authority, full check": (
        "sslmode=verify-full&sslrootcert={theirs}",
        "localhost",
        "not signed by a trusted authority",
    ),
    "another host": ("sslmode=verify-full&sslrootcert={ours}", "127.0.0.1", "for another host than"),
    "not among the system's authorities": ("sslrootcert=system", "localhost", UNTRUSTED),
    "no such file": ("sslmode=verify-ca&sslrootcert=/no/such.crt", "localhost", "sslrootcert in DATABASE_URL names"),
    "not a certificate": (
        "sslmode=verify-ca&sslrootcert={junk}",
        "localhost",
        "TLS with the database failed",
    ),
    "an unknown sslmode": ("sslmode=perhaps", "localhost", "has a parameter that is unknown"),
}


@pytest.mark.parametrize("query, host, sentence", INSECURE.values(), ids=INSECURE)
async def test_an_insecure_connection_is_refused(proxy, authorities, query, host, sentence, tmp_path):
    (tmp_path / "junk").write_text("no certificate")
    names = {"ours": authorities[0].path, "theirs": authorities[1].path, "junk": tmp_path / "junk"}

    with pytest.raises(DatabaseMisconfigured) as refused:
        await connect(url_of(proxy, query.format(**names), host))

    assert sentence in refused.value.detail
    assert "hush" not in refused.value.detail


async def test_sslrootcert_system_trusts_the_system_s_authorities(proxy, authorities, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities[0].path))

    await connect(url_of(proxy, "sslmode=verify-full&sslrootcert=system"))

    assert proxy.versions == ["TLSv1.3"]
    with pytest.raises(DatabaseMisconfigured, match="for another host than"):
        await connect(url_of(proxy, "sslrootcert=system", "127.0.0.1"))


async def test_an_expired_certificate_is_refused_until_it_is_renewed(proxy, authorities):
    url = url_of(proxy, f"sslmode=verify-full&sslrootcert={authorities[0].path}")
    proxy.certificate = authorities[0].certify("localhost", datetime.timedelta(days=-1))

    with pytest.raises(DatabaseMisconfigured, match="has expired"):
        await connect(url)
    proxy.certificate = authorities[0].certify("localhost")
    await connect(url)


async def test_a_server_without_tls_is_refused_if_sslmode_requires_it(proxy):
    proxy.certificate = None

    with pytest.raises(DatabaseMisconfigured, match="does not support TLS"):
        await connect(url_of(proxy, "sslmode=require"))
    await connect(url_of(proxy, "sslmode=prefer"))


async def test_an_unreachable_server_is_no_tls_error(authorities):
    url = f"postgresql://ada:hush-hush@127.0.0.1:1/tandem?sslmode=verify-full&sslrootcert={authorities[0].path}"

    with pytest.raises(DatabaseUnavailable, match=r"^the database is not available$"):
        await connect(url)


@pytest.mark.parametrize(
    "command", [["migrate"], ["doctor"], ["export", "-", "--kind", "users"], ["explain", "/users"]]
)
def test_commands_report_tls_errors_without_the_password(proxy, authorities, command):
    url = url_of(proxy, f"sslmode=verify-full&sslrootcert={authorities[1].path}")

    result = CliRunner().invoke(app, command, env={"TANDEM_ENV": "production", "DATABASE_URL": url})

    assert result.exit_code == 1
    assert UNTRUSTED in result.output
    assert "hush" not in result.output


def test_sslrootcert_system_is_read_from_the_url():
    address = postgres_address("postgres://h/d?sslmode=verify-full&sslrootcert=system&pgbouncer=true")

    assert (address.url, address.pooled, address.system_roots) == ("postgresql://h/d", True, True)
