"""Listening sockets, and how to close them without resetting connections in their queues."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

# From Linux's <asm-generic/socket.h> and <linux/filter.h>; Python has no names for them.
_SO_ATTACH_FILTER = 26
# A packet filter that drops SYN and accepts all else: load the flags of the TCP header; if SYN is set continue, else
# skip one; drop; accept.
_NO_SYN = struct.pack("HBBI" * 4, 0x30, 0, 0, 13, 0x45, 0, 1, 2, 0x06, 0, 0, 0, 0x06, 0, 0, 0xFFFFFFFF)


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind to all addresses of a host; `::` is all addresses of this machine, IPv4 and IPv6.

    The sockets are bound only; uvicorn listens on them once the application has started. A connection queued earlier
    would be lost to a signal in the meantime.

    Raises:
        OSError: an address cannot be bound, for another reason than that this machine lacks its family.
    """
    name = None if host in ("::", "") else host
    addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(addresses):
        try:
            listeners.append(_bind(family, str(address[0]), listeners[0].getsockname()[1] if listeners else port))
        except OSError as error:
            # Not every machine has addresses of both families.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or len(addresses) == 1:
                failure = error
    if failure is not None or not listeners:
        for listener in listeners:
            listener.close()
        raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return listeners


def block_new_connections(listener: socket.socket) -> None:
    """Ignore new connection attempts; those in the queue remain, and clients retry the others after a second.

    Closing a listener resets the connections in its queue, and one may join the queue between the last accept and the
    close. Only on Linux; elsewhere this does nothing.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
        program_pointer = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program_pointer)


def accept_pending(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept the connections in a listener's queue."""
    while True:
        try:
            yield listener.accept()[0]
        except OSError:  # the queue is empty, or a client has left it, and the next call finds the others
            return


def _bind(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
