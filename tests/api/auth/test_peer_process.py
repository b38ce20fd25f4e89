"""In development, programs of this machine's user are the administrator; programs that relay for others are not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.auth.development.peer_process import PeerCheck, PeerCheckResult, check_connections
from api.auth.development.psutil_table import PsutilTable
from api.auth.development.socket_table import SocketTable
from tests.fixtures.raw_http import free_port, read_response

ROOT = Path(__file__).parents[3]
RELAY = ROOT / "tests" / "fixtures" / "relay.py"
RESET = struct.pack("ii", 1, 0)
TABLES: list[Callable[[], SocketTable]] = [PsutilTable]
if sys.platform == "linux":
    from api.auth.development.sock_diag import DiagTable

    TABLES.insert(0, DiagTable)
BODY = b'{"first_name": "Mallory", "age": 36}'
ENDS = pytest.mark.skipif(sys.platform != "linux", reason="psutil shows neither Unix sockets' ends nor reset ones")


@contextlib.contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True, **more)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def server(template, tmp_path_factory) -> Iterator[int]:
    """A real server in development, in a process of its own; its port."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    database = shutil.copy(template, folder / "tandem.db")
    environment = {
        **os.environ, "TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{database}", "PYTHONPATH": str(ROOT),
        "LOG_LEVEL": "error",
    }  # fmt: skip
    with running([sys.executable, "-m", "api", "serve", "--port", str(port)], env=environment, cwd=folder):
        wait_for(port)
        yield port


def wait_for(port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on port {port}")


@contextlib.contextmanager
def relaying(form: str, port: int, path: object = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    with running([sys.executable, str(RELAY), form, str(port), str(path)]) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()


def request(port: int, method: str = "POST", path: str = "/users", *lines: str) -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json", *lines]
    body = BODY if method == "POST" else b""
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def response_over(connection: socket.socket, sent: bytes) -> tuple[int, str]:
    """Send a request; return the status and the detail of its response."""
    connection.settimeout(20)
    connection.sendall(sent)
    with connection.makefile("rb") as received:
        status, _, body = read_response(received)
    return status, json.loads(body).get("detail", "")


def request_through(relay: int, port: int, *, path: str = "/users", method: str = "POST") -> tuple[int, str]:
    """Send a request with the server's own Host through a relay; return the status and the detail."""
    with socket.create_connection(("127.0.0.1", relay)) as connection:
        return response_over(connection, request(port, method, path))


def names(port: int) -> list[str]:
    """All first names, as a program of this user reads them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/users?limit=100") as response:
        return [user["first_name"] for user in json.load(response)["items"]]


def judge(read: Callable[[], SocketTable], client: tuple[str, int], server: tuple[str, int]) -> PeerCheckResult:
    """The verdict on one connection, given the addresses of both ends."""
    return check_connections(read, [(client, server)])[0]


def verdict_on(read: Callable[[], SocketTable], code: str) -> PeerCheckResult:
    """The verdict on a program that connects to `port` and waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program = f"import os, socket, sys; port = {listener.getsockname()[1]}\n{code}\nsys.stdin.read()"
        with running([sys.executable, "-c", program], stdin=subprocess.PIPE):
            listener.settimeout(20)
            connection, http_client = listener.accept()
            with connection:
                assert connection.recv(1) == b"x"
                return judge(read, http_client, connection.getsockname())


CONNECT = "s = socket.create_connection(('127.0.0.1', port))"
GO = "s.sendall(b'x')"
SELF = (
    "a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept(); "
    "a.close()"
)
GONE = "a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); c, _ = a.accept(); "
HARMLESS = {
    "a program without other sockets": "",
    "a program that listens on loopback": "a = socket.create_server(('127.0.0.1', 0))",
    "a program that calls itself": SELF,
    "a program that calls another server": "b = socket.create_connection(('127.0.0.1', port))",
    "a program with a pair of sockets": "a, b = socket.socketpair()",
    "a program whose server has exited": f"{GONE} c.close(); a.close()",
    "a program whose server has reset it": f"{GONE} "
    "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7)); c.close(); a.close()",
    "a program that listens, whose other server has exited": f"{GONE} c.close(); a.close(); "
    "d = socket.create_server(('127.0.0.1', 0))",
    "a program with a socket that is not connected": "a = socket.socket()",
    "a program that has forked": "if not os.fork(): sys.stdin.read(); os._exit(0)",
}
SUSPECT = {
    "a program that listens on all addresses": ("a = socket.create_server(('0.0.0.0', 0))", "address 0.0.0.0"),
    "a program that listens on all of both families": (
        "a = socket.create_server(('::', 0), family=socket.AF_INET6, dualstack_ipv6=True)", "address ::"
    ),
}  # fmt: skip


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS)
def test_a_program_that_accepts_no_connections_has_access(read, code):
    assert verdict_on(read, f"{CONNECT}\n{code}\n{GO}").reason == ""


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("code, words", SUSPECT.values(), ids=SUSPECT)
def test_a_program_that_listens_beyond_loopback_is_refused(read, code, words):
    verdict = verdict_on(read, f"{CONNECT}\n{code}\n{GO}")

    assert "accepts connections" in verdict.reason
    assert words in verdict.reason


@pytest.mark.parametrize("read", TABLES)
def test_the_verdict_on_a_program_that_listens_holds_for_one_request(read):
    listening = verdict_on(read, f"{CONNECT}\n{HARMLESS['a program that listens on loopback']}\n{GO}")

    assert not listening.cacheable
    assert verdict_on(read, f"{CONNECT}\n{GO}").cacheable


@pytest.mark.parametrize("read", TABLES)
@pytest.mark.parametrize("target", ["::1", "::ffff:127.0.0.1"])
def test_ipv6_and_mapped_addresses_are_recognised(read, target):
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection((target, listener.getsockname()[1])),
    ):
        connection, http_client = listener.accept()
        with connection:
            assert judge(read, http_client[:2], connection.getsockname()[:2]).reason == ""


@pytest.mark.parametrize("read", TABLES)
def test_concurrent_connections_share_a_reading_of_the_table(read):
    """The first has a reading of its own, all others share the next."""
    readings: list[int] = []

    def counting_read() -> SocketTable:
        readings.append(len(readings))
        table: SocketTable = read()
        return table

    async def check(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        check_peer = PeerCheck(counting_read)
        scopes = [{"client": near.getsockname(), "server": far.getsockname()} for near, far in pairs]
        first = asyncio.create_task(check_peer(scopes[0]))
        await asyncio.sleep(0)
        await asyncio.gather(first, *[check_peer(scope) for scope in scopes[1:]])

    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        pairs = []
        for _ in range(20):
            near = opened.enter_context(socket.create_connection(listener.getsockname()))
            pairs.append((near, opened.enter_context(listener.accept()[0])))
        asyncio.run(check(pairs))

    assert len(readings) <= 2


@pytest.mark.parametrize("read", TABLES)
def test_a_program_that_has_exited_is_refused(read):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, http_client = listener.accept()
        with connection:
            assert "cannot be determined" in judge(read, http_client, connection.getsockname()).reason


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() != 0, reason="only root runs programs as another user")
@pytest.mark.parametrize("read", TABLES)
def test_a_program_of_another_user_is_refused(read):
    verdict = verdict_on(read, f"'x'.encode('idna'); os.setuid(65534)\n{CONNECT}\n{GO}")

    assert "belongs to another user" in verdict.reason


@ENDS
def test_a_socket_without_a_connection_is_suspect():
    """In a program that accepts connections; others may keep closed connections to servers that have ended."""
    listening = HARMLESS["a program that listens on loopback"]

    verdict = verdict_on(TABLES[0], f"{listening}; b = socket.socket()\n{CONNECT}\n{GO}")

    assert "its peer has ended" in verdict.reason


@pytest.mark.parametrize("read", TABLES)
def test_connections_to_a_closed_listener_are_recognised(read):
    program = f"import socket, sys; port = int(sys.argv[1])\n{CONNECT}\nt = {CONNECT[4:]}\n{GO}\nsys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        command = [sys.executable, "-c", program, str(listener.getsockname()[1])]
        with running(command, stdin=subprocess.PIPE), contextlib.ExitStack() as held:
            accepted = [listener.accept() for _ in range(2)]
            for connection, _ in accepted:
                held.enter_context(connection)
            assert accepted[0][0].recv(1) == b"x"
            listener.close()

            verdicts = [judge(read, http_client, connection.getsockname()) for connection, http_client in accepted]

    assert [verdict.reason for verdict in verdicts] == ["", ""]


@ENDS
@pytest.mark.parametrize("read", TABLES)
def test_a_tunnel_whose_own_connection_is_an_outgoing_one_is_refused(read):
    verdict = verdict_on(read, f"open('/proc/self/comm', 'w').write('ssh')\n{CONNECT}\n{GO}")

    assert "the calling program ssh forwards connections" in verdict.reason


@pytest.mark.slow
def test_programs_of_this_user_are_the_administrator(server):
    assert "Mallory" not in names(server)
    if curl := shutil.which("curl"):
        command = [curl, "-s", f"http://127.0.0.1:{server}/users", "-H", "content-type: application/json", "-d"]
        created = json.loads(subprocess.run([*command, '{"first_name": "Ada", "age": 36}'], capture_output=True).stdout)
        assert created["first_name"] == "Ada"
    if node := shutil.which("node"):
        program = f"fetch('http://127.0.0.1:{server}/users').then((response) => console.log(response.status))"
        assert subprocess.run([node, "-e", program], capture_output=True, text=True).stdout == "200\n"


def test_a_client_that_has_ended_its_half_is_answered(server):
    with socket.create_connection(("127.0.0.1", server)) as connection:
        connection.sendall(request(server, "GET"))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as received:
            assert read_response(received)[0] == 200


@pytest.mark.parametrize("form", ["plain", "once", "fork"])
@pytest.mark.parametrize(
    "method, path", [("POST", "/users"), ("GET", "/users"), ("POST", "/keys"), ("POST", "/graphql")]
)
def test_what_a_relay_passes_on_is_refused(server, form, method, path):
    with relaying(form, server) as (_, relay):
        status, detail = request_through(int(relay), server, method=method, path=path)

    assert status == 403
    if path != "/graphql":
        assert f"python accepts connections (port {relay})" in detail.replace(Path(sys.executable).name, "python")
        assert "python3 dev.py api keys create --role admin --name NAME" in detail


def test_the_second_request_over_a_relays_connection_is_refused_too(server):
    with relaying("plain", server) as (_, relay), socket.create_connection(("127.0.0.1", int(relay))) as connection:
        responses = [response_over(connection, request(server))[0] for _ in range(3)]

    assert responses == [403, 403, 403]


def test_a_connection_that_a_relay_used_for_itself_before_is_refused(server):
    with relaying("reuse", server) as (process, own):
        assert own == "200"
        assert process.stdout
        relay = int(process.stdout.readline())
        responses = [request_through(relay, server)[0] for _ in range(2)]

    assert responses == [403, 403]


@ENDS
def test_a_relay_on_a_unix_socket_is_refused(server, tmp_path):
    with (
        relaying("unix", server, tmp_path / "relay.sock") as (_, path),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(path)
        status, detail = response_over(connection, request(server))

    assert status == 403
    assert "the Unix socket" in detail


@ENDS
def test_a_request_whose_connection_is_reset_has_no_effect(server):
    with relaying("reset", server) as (process, relay):
        with socket.create_connection(("127.0.0.1", int(relay))) as connection:
            connection.sendall(request(server))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        assert process.stdout
        assert process.stdout.readline() == "passed on\n"

    assert "Mallory" not in names(server)


def test_a_key_is_accepted_through_a_relay(server):
    call = urllib.request.Request(
        f"http://127.0.0.1:{server}/keys", b'{"name": "relay", "role": "reader"}', {"content-type": "application/json"}
    )
    with urllib.request.urlopen(call) as response:
        key = f"Authorization: Bearer {json.load(response)['secret']}"

    with relaying("plain", server) as (_, relay), socket.create_connection(("127.0.0.1", int(relay))) as connection:
        assert response_over(connection, request(server, "GET", "/users", key))[0] == 200


NGINX = """
daemon off; pid {folder}/pid; error_log stderr crit; user root;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream tandem {{ server 127.0.0.1:{port}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{front};
        location / {{ proxy_pass http://127.0.0.1:{port}; }}
        location /kept/ {{
            proxy_pass http://tandem/; proxy_http_version 1.1;
            proxy_set_header Host 127.0.0.1:{port}; proxy_set_header Connection "";
        }}
        location /unnoticed/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_ignore_client_abort on; }}
    }}
}}
"""
HAPROXY = """
defaults
    mode {mode}
    timeout client 20s
    timeout server 20s
    timeout connect 5s
frontend front
    bind 127.0.0.1:{front}
    default_backend back
backend back
    server tandem 127.0.0.1:{port}
"""


@contextlib.contextmanager
def proxying(name: str, port: int, folder: Path, **more: object) -> Iterator[int]:
    """A real proxy in front of the server, with a minimal configuration."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    front, file = free_port(), folder / "config"
    text = {"nginx": NGINX, "haproxy": HAPROXY}.get(name, "").format(folder=folder, port=port, front=front, **more)
    if name == "nginx" and os.getuid() != 0:
        text = text.replace("user root;", "")
    file.write_text(text)
    commands = {
        "nginx": [program, "-p", str(folder), "-c", str(file)],
        "haproxy": [program, "-q", "-db", "-f", str(file)],
        "socat": [program, f"TCP-LISTEN:{front},bind=127.0.0.1,fork,reuseaddr", f"TCP:127.0.0.1:{port}"],
    }
    with running(commands[name]):
        wait_for(front)
        yield front


@pytest.mark.parametrize("path", ["/users", "/kept/users", "/unnoticed/users"])
def test_what_nginx_passes_on_is_refused(server, tmp_path, path):
    with proxying("nginx", server, tmp_path) as front:
        responses = [request_through(front, server, path=path) for _ in range(3)]

    assert [status for status, _ in responses] == [403] * 3
    assert all("nginx" in detail and f"port {front}" in detail for _, detail in responses)


@pytest.mark.parametrize("name, mode", [("nginx", ""), ("haproxy", "http"), ("haproxy", "tcp"), ("socat", "")])
@pytest.mark.slow
def test_a_request_whose_connection_to_a_proxy_is_reset_has_no_effect(server, tmp_path, name, mode):
    with proxying(name, server, tmp_path, mode=mode) as front:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", front)) as connection:
                connection.sendall(request(server, "POST", "/unnoticed/users" if name == "nginx" else "/users"))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        request_through(front, server)  # when it has its response, those before have been handled

    assert "Mallory" not in names(server)


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_what_haproxy_passes_on_is_refused(server, tmp_path, mode):
    with proxying("haproxy", server, tmp_path, mode=mode) as front:
        responses = [request_through(front, server) for _ in range(3)]

    assert [status for status, _ in responses] == [403] * 3
    assert all(f"haproxy accepts connections (port {front})" in detail for _, detail in responses)


def test_what_socat_passes_on_is_refused(server, tmp_path):
    with proxying("socat", server, tmp_path) as front:
        responses = [request_through(front, server) for _ in range(3)]

    assert [status for status, _ in responses] == [403] * 3
    assert all(f"socat accepts connections (port {front})" in detail for _, detail in responses)


def test_public_pages_are_served_through_a_relay(server):
    with (
        relaying("plain", server) as (_, relay),
        urllib.request.urlopen(f"http://127.0.0.1:{relay}/health") as response,
    ):
        assert response.status == 200


@pytest.mark.slow
def test_a_websocket_through_a_relay_ends_with_forbidden(server):
    def acknowledged(port: int) -> str:
        url, way = f"ws://127.0.0.1:{server}/graphql", socket.create_connection(("127.0.0.1", port))
        with connect(url, sock=way, subprotocols=[Subprotocol("graphql-transport-ws")]) as opened:
            opened.send('{"type": "connection_init"}')
            assert json.loads(opened.recv())["type"] == "connection_ack"
            opened.send('{"id": "1", "type": "subscribe", "payload": {"query": "{ users { totalCount } }"}}')
            return str(json.loads(opened.recv())["type"])

    assert acknowledged(server) == "next"
    with relaying("plain", server) as (_, relay), pytest.raises(ConnectionClosed) as closed:
        acknowledged(int(relay))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
