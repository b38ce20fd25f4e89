"""The TCP sockets of this machine and the processes that hold them.

Read by `sock_diag.py` on Linux, by `psutil_table.py` on other systems and where Linux denies access.
"""

from __future__ import annotations

import ipaddress
import sys
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

Address = tuple[str, int]
# Assigned by IANA; used by macOS and Windows.
_EPHEMERAL = range(49152, 65536)


class Unavailable(Exception):
    """The system does not provide this information."""


class TcpSocket(NamedTuple):
    """A socket that listens (it has no remote address) or is connected."""

    local: Address
    remote: Address | None


class Process(NamedTuple):
    """A process, as far as its sockets matter.

    `accepted_unix` is the path of a Unix socket on which it holds an accepted connection. `broken` says that it holds a
    TCP socket without a connection: one whose other side has reset it, or one that has never been connected. `ending`
    are the sockets whose connection one side has closed.
    """

    pid: int
    name: str
    same_user: bool
    sockets: tuple[TcpSocket, ...] = ()
    accepted_unix: str = ""
    broken: bool = False
    ending: frozenset[TcpSocket] = frozenset()


class SocketTable(ABC):
    """The sockets at one moment. `ephemeral` are the ports that the system assigns to outgoing connections."""

    ephemeral: range
    listeners: frozenset[Address]

    def listens(self, address: Address) -> bool:
        """Whether a process of this machine accepts connections at an address, or at all of its addresses."""
        host, port = address
        return not self.listeners.isdisjoint(((host, port), ("0.0.0.0", port), ("::", port)))  # noqa: S104

    @abstractmethod
    def owners(self, connection: TcpSocket) -> list[Process]:
        """The processes that hold this end of a connection; none where no process is visible."""


def ephemeral_ports() -> range:
    """Return the ports that the system assigns to outgoing connections."""
    if sys.platform != "linux":
        return _EPHEMERAL
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return range(int(first), int(last) + 1)


def plain_address(host: str, port: int) -> Address:
    """An address in its canonical spelling; IPv4 mapped into IPv6 as IPv4."""
    return _plain_host(host), port


@lru_cache(maxsize=1000)
def _plain_host(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
