"""To a PostgreSQL there is TLS as the URL asks for it, or nothing at all; what is wrong is said in a sentence."""

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
    """Who makes certificates, and vouches for them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self._signed(self._name, self._key, ca=True).public_bytes(PEM))

    def certify(self, host: str, until: datetime.timedelta = datetime.timedelta(days=1)) -> tuple[Path, Path]:
        """A certificate for a host, and its key, in files."""
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
def papers(tmp_path_factory):
    """Whom we trust, and somebody else."""
    folder = tmp_path_factory.mktemp("papers")
    return Authority(folder, "ours"), Authority(folder, "theirs")


class Front:
    """TLS before a PostgreSQL, as PostgreSQL has it: its wheel for tests was built without.

    `shown` is the certificate that it shows, with its key; without one it speaks no TLS. `seen` says what was spoken.
    """

    def __init__(self, behind: str, database: str) -> None:
        self._behind, self.database = behind, database
        self.shown: tuple[Path, Path] | None = None
        self.seen: list[str | None] = []
        self.port = 0

    async def serve(self, started: threading.Event, ended: asyncio.Event) -> None:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            started.set()
            await ended.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            first, version = await reader.readexactly(8), None
            if first == SSL_REQUEST:
                writer.write(b"S" if self.shown else b"N")
                if self.shown:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(*self.shown)
                    await writer.start_tls(context)
                    version = writer.get_extra_info("ssl_object").version()
                first = b""
            self.seen.append(version)
            there, back = await asyncio.open_unix_connection(self._behind)
            back.write(first)
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def front(migrated, papers):
    """The database of the tests, as `localhost`, behind TLS."""
    folder = dict(parse_qsl(urlsplit(migrated).query))["host"]
    front, started = Front(f"{folder}/.s.PGSQL.5432", urlsplit(migrated).path), threading.Event()
    front.shown = papers[0].certify("localhost")
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(front.serve(started, ended)))
    thread.start()
    assert started.wait(10)
    yield front
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()


def over(front, query, host="localhost"):
    """Its URL, with a password in it."""
    return f"postgresql://postgres:hush-hush@{host}:{front.port}{front.database}?{query}"


async def asked(url):
    """Ask the database something."""
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
async def test_it_is_encrypted_where_that_is_asked_for(front, papers, query, host):
    await asked(over(front, query.format(ours=papers[0].path), host))

    assert front.seen == ["TLSv1.3"]


async def test_it_is_in_the_clear_where_that_is_asked_for(front):
    await asked(over(front, "sslmode=disable"))

    assert front.seen == [None]


REFUSED = {
    "nobody whom we trust": (
        "sslmode=verify-ca&sslrootcert={theirs}",
        "127.0.0.1",
        "not signed by a trusted authority",
    ),
    "nor for the name": ("sslmode=verify-full&sslrootcert={theirs}", "localhost", "not signed by a trusted authority"),
    "another name": ("sslmode=verify-full&sslrootcert={ours}", "127.0.0.1", "for another host than"),
    "the machine does not know it": ("sslrootcert=system", "localhost", "not signed by a trusted authority"),
    "no such file": ("sslmode=verify-ca&sslrootcert=/no/such.crt", "localhost", "sslrootcert in DATABASE_URL names"),
    "a file of something else": ("sslmode=verify-ca&sslrootcert={junk}", "localhost", "TLS with the database failed"),
    "no such mode": ("sslmode=perhaps", "localhost", "has a parameter that is unknown"),
}


@pytest.mark.parametrize("query, host, sentence", REFUSED.values(), ids=REFUSED)
async def test_what_is_not_as_asked_for_is_refused_in_a_sentence(front, papers, query, host, sentence, tmp_path):
    (tmp_path / "junk").write_text("no certificate")
    names = {"ours": papers[0].path, "theirs": papers[1].path, "junk": tmp_path / "junk"}

    with pytest.raises(DatabaseMisconfigured) as refused:
        await asked(over(front, query.format(**names), host))

    assert sentence in refused.value.detail
    assert "hush" not in refused.value.detail


async def test_whom_this_machine_trusts_is_trusted_as_system(front, papers, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(papers[0].path))

    await asked(over(front, "sslmode=verify-full&sslrootcert=system"))

    assert front.seen == ["TLSv1.3"]
    with pytest.raises(DatabaseMisconfigured, match="for another host than"):
        await asked(over(front, "sslrootcert=system", "127.0.0.1"))


async def test_a_certificate_that_has_expired_is_refused_and_the_next_one_taken(front, papers):
    url = over(front, f"sslmode=verify-full&sslrootcert={papers[0].path}")
    front.shown = papers[0].certify("localhost", datetime.timedelta(days=-1))

    with pytest.raises(DatabaseMisconfigured, match="has expired"):
        await asked(url)
    front.shown = papers[0].certify("localhost")
    await asked(url)


async def test_a_server_without_tls_is_refused_where_there_must_be_some(front):
    front.shown = None

    with pytest.raises(DatabaseMisconfigured, match="does not support TLS"):
        await asked(over(front, "sslmode=require"))
    await asked(over(front, "sslmode=prefer"))


async def test_a_server_that_is_away_is_no_matter_of_tls(papers):
    url = f"postgresql://ada:hush-hush@127.0.0.1:1/tandem?sslmode=verify-full&sslrootcert={papers[0].path}"

    with pytest.raises(DatabaseUnavailable, match=r"^the database is not available$"):
        await asked(url)


@pytest.mark.parametrize(
    "command", [["migrate"], ["doctor"], ["export", "-", "--kind", "users"], ["explain", "/users"]]
)
def test_the_commands_say_it_too_and_keep_the_password_to_themselves(front, papers, command):
    url = over(front, f"sslmode=verify-full&sslrootcert={papers[1].path}")

    result = CliRunner().invoke(app, command, env={"TANDEM_ENV": "production", "DATABASE_URL": url})

    assert result.exit_code == 1
    assert "not signed by a trusted authority" in result.output
    assert "hush" not in result.output


def test_what_a_url_says_of_whom_to_trust_is_understood():
    found = postgres_address("postgres://h/d?sslmode=verify-full&sslrootcert=system&pgbouncer=true")

    assert (found.url, found.pooled, found.system_roots) == ("postgresql://h/d", True, True)
