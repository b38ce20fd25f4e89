"""Which program calls, and whether it may be passing on the request of somebody else. For development only.

A proxy's connection comes from this machine, as one of curl's does. What tells them apart is the process that holds it:
a proxy serves connections of its own.
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
# Programs that only pass on connections, and whose own connection to the stranger may be an outgoing one.
TUNNELS = frozenset((
    "autossh", "bore", "chisel", "cloudflared", "devtunnel", "frpc", "gost", "inlets", "ngrok", "npc", "pagekite",
    "plink", "playit", "rathole", "ssh", "sshd", "sshd-session", "tailscaled", "tunnelto", "wstunnel", "zrok",
))  # fmt: skip
# Programs that may call for themselves or pass on, and as relays may have closed their listener by then.
RELAYS = frozenset(("haproxy", "nc", "nc.openbsd", "nc.traditional", "ncat", "netcat", "nginx", "socat"))
KEPT_SECONDS = 1.0
_MOST_KEPT = 1000
_LONGEST_NAME = 40


class Verdict(NamedTuple):
    """Why a connection is refused (empty: it is not), and whether that holds for the next moment, too."""

    reason: str
    lasting: bool


class _Kept(NamedTuple):
    client: Any
    verdict: Verdict
    until: float


def read_table() -> SocketTable:
    """Look at the sockets of this machine.

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
    """Refuses connections that a stranger's request may come by.

    A verdict is kept for at most `KEPT_SECONDS` and for one connection: a server has one tuple `client` for each, which
    is compared by identity, so that another connection from the same port is looked at anew.
    """

    def __init__(self, read: Callable[[], SocketTable] = read_table) -> None:
        self._read = read
        self._kept: dict[Address, _Kept] = {}
        self._waiting: list[tuple[Any, Any, asyncio.Future[Verdict]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope) -> None:
        """Look at the process at the other end of a connection.

        Raises:
            Forbidden: it is not known, belongs to another user, or serves others.
        """
        client, server = scope["client"], scope.get("server") or ("", None)
        kept = self._kept.get(tuple(client))
        if kept is None or kept.client is not client or kept.until < monotonic():
            verdict = await self._judged(tuple(client), tuple(server))
            kept = self._keep(client, verdict)
        if kept.verdict.reason:
            raise Forbidden(f"{kept.verdict.reason}; {REMEDY}")

    async def _judged(self, client: Any, server: Any) -> Verdict:
        """The verdict of a look that begins from now on; connections that wait for one share it."""
        verdict = asyncio.get_running_loop().create_future()
        self._waiting.append((client, server, verdict))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await verdict  # type: ignore[no-any-return]

    async def _look(self) -> None:
        """Judge those who wait, until nobody does."""
        try:
            while waiting := self._waiting:
                self._waiting = []
                connections = [(client, server) for client, server, _ in waiting]
                try:
                    verdicts = await asyncio.to_thread(judge_all, self._read, connections)
                except Exception as error:
                    for _, _, verdict in waiting:
                        if not verdict.done():
                            verdict.set_exception(error)
                    continue
                for (_, _, verdict), found in zip(waiting, verdicts, strict=True):
                    if not verdict.done():
                        verdict.set_result(found)
        finally:
            self._looking = None

    def _keep(self, client: Any, verdict: Verdict) -> _Kept:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        kept = _Kept(client, verdict, monotonic() + KEPT_SECONDS)
        if verdict.lasting:
            self._kept[tuple(client)] = kept
        return kept


def judge(read: Callable[[], SocketTable], client: tuple[str, int], server: tuple[str, int | None]) -> Verdict:
    """The verdict on the connection between two addresses, the server's own last."""
    return judge_all(read, [(client, server)])[0]


def judge_all(
    read: Callable[[], SocketTable], connections: list[tuple[tuple[str, int], tuple[str, int | None]]]
) -> list[Verdict]:
    """The verdicts on several connections, by one look at the system."""
    try:
        table = read()
    except Unavailable:
        table = None
    return [_judged_in(table, client, server) for client, server in connections]


def _judged_in(table: SocketTable | None, client: tuple[str, int], server: tuple[str, int | None]) -> Verdict:
    unknown = Verdict("this system does not tell which program calls", True)
    if table is None:
        return unknown
    try:
        connection = TcpSocket(plain_address(*client), plain_address(server[0], server[1] or 0))
    except ValueError:
        return unknown
    owners = table.owners(connection)
    if not owners:
        return Verdict(
            "which program calls cannot be determined: it has ended, or it runs in a container or for another user",
            True,
        )
    reasons = [_reason(table, process, connection) for process in owners]
    others = [process for process in owners if process.pid != os.getpid()]
    listening = any(socket.remote is None for process in others for socket in process.sockets)
    refused = next(filter(None, reasons), "")
    # Who does not listen cannot begin to serve; who does, may in the next moment.
    return Verdict(refused, bool(refused) or not listening)


def _reason(table: SocketTable, process: Process, connection: TcpSocket) -> str:
    """Why a process is refused; empty where it is not."""
    if process.pid == os.getpid():
        return ""
    program = f"the calling program {_printable(process.name)}".strip()
    if not process.same_user:
        return f"{program} belongs to another user than the server"
    if connection not in process.sockets:
        return f"{program} has ended its connection"
    if process.name.lower().removesuffix(".exe") in TUNNELS:
        return f"{program} passes on connections, which might be a stranger's"
    if served := _served(table, process, connection):
        return f"{program} serves other connections ({served}) and might pass on a stranger's request"
    return ""


def _served(table: SocketTable, process: Process, connection: TcpSocket) -> str:
    """Where a process serves others, or may; empty where it does not."""
    within = {(socket.local, socket.remote) for socket in process.sockets}
    listening = any(socket.remote is None for socket in process.sockets)
    for socket in process.sockets:
        port = f"port {socket.local[1]}"
        if socket.remote is None:
            if not ipaddress.ip_address(socket.local[0]).is_loopback:
                return f"{port} of address {socket.local[0]}"
        # What leads to this server, which may be shutting down, was opened by the caller. So was what is left of a
        # connection to a server that is gone: any in a program that does not listen, in others those on loopback.
        elif socket.remote == connection.remote or (
            socket in process.ending and (not listening or _is_left_on_loopback(table, socket))
        ):
            continue
        elif (socket.remote, socket.local) not in within and not _is_outgoing(table, socket.local, socket.remote):
            return port
    if process.accepted_unix:
        return f"the Unix socket {_printable(process.accepted_unix)}"
    ended = process.broken and (listening or process.name.lower() in RELAYS)
    return "a connection that the other side has ended" if ended else ""


def _is_left_on_loopback(table: SocketTable, socket: TcpSocket) -> bool:
    """Whether both ends are on loopback, and this end's port is not listened on.

    A test program that runs a server in a thread may keep connections to servers that have ended before.
    """
    assert socket.remote is not None
    ends = (socket.local, socket.remote)
    return not table.listens(socket.local) and all(ipaddress.ip_address(host).is_loopback for host, _ in ends)


def _is_outgoing(table: SocketTable, local: Address, remote: Address) -> bool:
    """Whether a connection was opened by this end. Where that cannot be told, it was not.

    A listener may have been closed after it accepted, so the absence of one proves nothing.
    """
    if table.listens(local) or local[1] not in table.ephemeral:
        return False
    return remote[1] not in table.ephemeral or table.listens(remote)


def _printable(text: str) -> str:
    return "".join(character for character in text[:_LONGEST_NAME] if character.isprintable())
