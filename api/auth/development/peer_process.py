"""Development only: finds the program at the other end of a connection, and refuses proxies.

A proxy connects from this machine, as curl does. Its process is what differs: it accepts connections itself.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from starlette.types import Scope

from api.auth.development.socket_table import Address, Process, SocketTable, TcpSocket, Unavailable, plain_address
from schema.engine.errors import Forbidden

REMEDY = "send an API key: python3 dev.py api keys create --role admin --name NAME"
# Programs that only forward connections, whose connection to the client may be an outgoing one.
TUNNELS = frozenset((
    "autossh", "bore", "chisel", "cloudflared", "devtunnel", "frpc", "gost", "inlets", "ngrok", "npc", "pagekite",
    "plink", "playit", "rathole", "ssh", "sshd", "sshd-session", "tailscaled", "tunnelto", "wstunnel", "zrok",
))  # fmt: skip
# Programs that may forward connections, and may have closed their listener by then.
RELAYS = frozenset(("haproxy", "nc", "nc.openbsd", "nc.traditional", "ncat", "netcat", "nginx", "socat"))
CACHE_SECONDS = 1.0
_MAX_CACHED = 1000
_MAX_NAME_LENGTH = 40


class PeerCheckResult(NamedTuple):
    """Why a connection is refused (empty if it is not), and whether the result may be cached."""

    reason: str
    cacheable: bool


class _CachedResult(NamedTuple):
    client: Any
    result: PeerCheckResult
    until: float


def read_table() -> SocketTable:
    """Read the sockets of this machine.

    Raises:
        Unavailable: the system does not show them.
    """
    if sys.platform == "linux":
        from api.auth.development.sock_diag import DiagTable

        try:
            return DiagTable()
        except OSError:  # the kernel has no tcp_diag, or a sandbox forbids netlink
            pass
    from api.auth.development.psutil_table import PsutilTable

    return PsutilTable()


class PeerCheck:
    """Refuses connections from programs that may forward requests of others.

    A result is cached for one connection and at most `CACHE_SECONDS`. The tuple `client` is compared by identity,
    because another connection from the same port has another tuple.
    """

    def __init__(self, read: Callable[[], SocketTable] = read_table) -> None:
        self._read = read
        self._cached: dict[Address, _CachedResult] = {}
        self._waiting: list[tuple[Any, Any, asyncio.Future[PeerCheckResult]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope) -> None:
        """Check the process at the other end of a connection.

        Raises:
            Forbidden: it is unknown, belongs to another user, or accepts connections itself.
        """
        client, server = scope["client"], scope.get("server") or ("", None)
        cached = self._cached.get(tuple(client))
        if cached is None or cached.client is not client or cached.until < monotonic():
            result = await self._check(tuple(client), tuple(server))
            cached = self._cache(client, result)
        if cached.result.reason:
            raise Forbidden(f"{cached.result.reason}; {REMEDY}")

    async def _check(self, client: Any, server: Any) -> PeerCheckResult:
        """Read the sockets anew; connections that wait share the result."""
        result = asyncio.get_running_loop().create_future()
        self._waiting.append((client, server, result))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_sockets())
        return await result  # type: ignore[no-any-return]

    async def _read_sockets(self) -> None:
        try:
            while waiting := self._waiting:
                self._waiting = []
                connections = [(client, server) for client, server, _ in waiting]
                try:
                    results = await asyncio.to_thread(check_connections, self._read, connections)
                except Exception as error:
                    for _, _, future in waiting:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, _, future), result in zip(waiting, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._reading = None

    def _cache(self, client: Any, result: PeerCheckResult) -> _CachedResult:
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        cached = _CachedResult(client, result, monotonic() + CACHE_SECONDS)
        if result.cacheable:
            self._cached[tuple(client)] = cached
        return cached


def check_connections(
    read: Callable[[], SocketTable], connections: list[tuple[tuple[str, int], tuple[str, int | None]]]
) -> list[PeerCheckResult]:
    """Check several connections, reading the sockets once."""
    try:
        table = read()
    except Unavailable:
        table = None
    return [_check_in_table(table, client, server) for client, server in connections]


def _check_in_table(
    table: SocketTable | None, client: tuple[str, int], server: tuple[str, int | None]
) -> PeerCheckResult:
    unknown = PeerCheckResult("this system does not show which program has sent the request", True)
    if table is None:
        return unknown
    try:
        connection = TcpSocket(plain_address(*client), plain_address(server[0], server[1] or 0))
    except ValueError:
        return unknown
    owners = table.owners(connection)
    if not owners:
        return PeerCheckResult(
            "the program that has sent the request cannot be determined: it has ended, or runs in a container or for "
            "another user",
            True,
        )
    reasons = [_reason(table, process, connection) for process in owners]
    others = [process for process in owners if process.pid != os.getpid()]
    listening = any(socket.remote is None for process in others for socket in process.sockets)
    refused = next(filter(None, reasons), "")
    # A process that listens may accept a connection in the next moment.
    return PeerCheckResult(refused, bool(refused) or not listening)


def _reason(table: SocketTable, process: Process, connection: TcpSocket) -> str:
    """Return why a process is refused, or an empty string."""
    if process.pid == os.getpid():
        return ""
    program = f"the calling program {_printable(process.name)}".strip()
    if not process.same_user:
        return f"{program} belongs to another user than the server"
    if connection not in process.sockets:
        return f"{program} has ended its connection"
    if process.name.lower().removesuffix(".exe") in TUNNELS:
        return f"{program} forwards connections, possibly those of others"
    if accepted := _accepted(table, process, connection):
        return f"{program} accepts connections ({accepted}) and may forward the requests of others"
    return ""


def _accepted(table: SocketTable, process: Process, connection: TcpSocket) -> str:
    """Return where a process accepts connections, or may, or an empty string."""
    within = {(socket.local, socket.remote) for socket in process.sockets}
    listening = any(socket.remote is None for socket in process.sockets)
    for socket in process.sockets:
        port = f"port {socket.local[1]}"
        if socket.remote is None:
            if not ipaddress.ip_address(socket.local[0]).is_loopback:
                return f"{port} of address {socket.local[0]}"
        # Connections to this server, which may be shutting down, were opened by the client. So were closed connections
        # to a server that has ended: any of a program that does not listen, of others those on loopback.
        elif socket.remote == connection.remote or (
            socket in process.ending and (not listening or _is_left_on_loopback(table, socket))
        ):
            continue
        elif (socket.remote, socket.local) not in within and not _is_outgoing(table, socket.local, socket.remote):
            return port
    if process.accepted_unix:
        return f"the Unix socket {_printable(process.accepted_unix)}"
    ended = process.broken and (listening or process.name.lower() in RELAYS)
    return "a connection that its peer has ended" if ended else ""


def _is_left_on_loopback(table: SocketTable, socket: TcpSocket) -> bool:
    """Whether both ends are on loopback, and this end's port is not listened on.

    A test program that runs a server in a thread may keep connections to servers that have ended before.
    """
    assert socket.remote is not None
    ends = (socket.local, socket.remote)
    return not table.listens(socket.local) and all(ipaddress.ip_address(host).is_loopback for host, _ in ends)


def _is_outgoing(table: SocketTable, local: Address, remote: Address) -> bool:
    """Whether a connection was opened by this end. Where that is unknown, it was not.

    A listener may have been closed after it accepted, so the absence of one proves nothing.
    """
    if table.listens(local) or local[1] not in table.ephemeral:
        return False
    return remote[1] not in table.ephemeral or table.listens(remote)


def _printable(text: str) -> str:
    return "".join(character for character in text[:_MAX_NAME_LENGTH] if character.isprintable())
