"""The sockets that the service listens on, and how they are given up without turning anybody away."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

# Linux's <asm-generic/socket.h> and <linux/filter.h>; Python does not name them.
_SO_ATTACH_FILTER = 26
# Of what comes to the listener: drop what opens a connection (SYN), take all else. That is: load the octet of the flags
# in the TCP header; if SYN is among them go on, else skip one; drop; take.
_NO_SYN = struct.pack("HBBI" * 4, 0x30, 0, 0, 13, 0x45, 0, 1, 2, 0x06, 0, 0, 0, 0x06, 0, 0, 0xFFFFFFFF)


def listen(host: str, port: int) -> list[socket.socket]:
    """Take all addresses that a host has; `::` is all of this machine's, of both families.

    Nobody is let in before the server is ready: whoever stood in the queue would be lost to a signal in the meantime.
    """
    name = None if host in ("::", "") else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            made.append(_bound(family, str(address[0]), made[0].getsockname()[1] if made else port))
        except OSError as error:
            # Not every machine has addresses of both families.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or len(found) == 1:
                failed = error
    if failed is not None or not made:
        for listener in made:
            listener.close()
        raise failed or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return made


def _bound(family: int, host: str, port: int) -> socket.socket:
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


def block_new_connections(listener: socket.socket) -> None:
    """Who knocks from now on hears nothing, and knocks again in a second; who has knocked is let in.

    A listener that closes resets whoever stands in its queue, and in the moment between a last look at the queue and
    the closing somebody may join it. So, where the kernel can, the queue is cut off first.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
        filter = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter)


def accept_pending(listener: socket.socket) -> Iterator[socket.socket]:
    """Those who stand in the listener's queue."""
    while True:
        try:
            yield listener.accept()[0]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # One that has left the queue by itself; the next look finds the others.
            return
