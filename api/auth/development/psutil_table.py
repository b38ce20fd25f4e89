"""TCP sockets and their processes on systems other than Linux, from psutil."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psutil

from api.auth.development.socket_table import (
    Process,
    SocketTable,
    TcpSocket,
    Unavailable,
    ephemeral_ports,
    plain_address,
)


class PsutilTable(SocketTable):
    """The sockets as psutil lists them, without accepted Unix sockets and broken connections."""

    def __init__(self) -> None:
        try:
            self.ephemeral = ephemeral_ports()
            rows = list(_connections())
        except (psutil.Error, OSError, NotImplementedError) as error:
            raise Unavailable from error
        self._sockets = [(socket, pid) for socket, pid, _ in rows]
        self._ending = frozenset(socket for socket, _, ending in rows if ending)
        self.listeners = frozenset(socket.local for socket, _ in self._sockets if socket.remote is None)

    def owners(self, connection: TcpSocket) -> list[Process]:
        pids = dict.fromkeys(pid for socket, pid in self._sockets if socket == connection and pid)
        return [process for process in map(self._process, pids) if process]

    def _process(self, pid: int) -> Process | None:
        try:
            process = psutil.Process(pid)
            name, user = process.name(), process.username()
        except psutil.Error:
            return None
        sockets = tuple(socket for socket, owner in self._sockets if owner == pid)
        ending = self._ending.intersection(sockets)
        return Process(pid, name, user == psutil.Process().username(), sockets, ending=ending)


def _connections() -> Iterable[tuple[TcpSocket, int | None, bool]]:
    """All TCP sockets with the process of each, where that is visible, and whether one side has closed."""
    try:
        rows = [(row, row.pid) for row in psutil.net_connections("tcp")]
    except psutil.AccessDenied:  # macOS shows all of them to root alone, but to each user their own
        rows = [(row, process.pid) for process in psutil.process_iter() for row in _own_connections(process)]
    for row, pid in rows:
        if row.laddr and (row.raddr or row.status == psutil.CONN_LISTEN):
            remote = plain_address(*row.raddr[:2]) if row.raddr else None
            ending = row.status not in (psutil.CONN_ESTABLISHED, psutil.CONN_LISTEN)
            yield TcpSocket(plain_address(*row.laddr[:2]), remote), pid, ending


def _own_connections(process: psutil.Process) -> list[Any]:
    try:
        return process.net_connections("tcp") if process.pid else []
    except psutil.Error:
        return []
