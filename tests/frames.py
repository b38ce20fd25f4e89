"""WebSocket frames byte by byte, for what no client library would send."""

from __future__ import annotations

import os
import socket
import struct

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked frame."""
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(data)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 2**16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    mask = os.urandom(4)
    mask_all = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(data, "big") ^ mask_all).to_bytes(size, "big")


def text(data: str) -> bytes:
    return frame(TEXT, data.encode())


def handshake(path: str = "/graphql", host: str = "127.0.0.1", *headers: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: graphql-transport-ws",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def opened(connection: socket.socket, *headers: str) -> socket.socket:
    """The connection after its handshake."""
    connection.sendall(handshake("/graphql", "127.0.0.1", *headers))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, "the connection was closed in its handshake"
        head += byte
    assert b" 101 " in head.partition(b"\r\n")[0], head
    return connection


def read_frame(connection: socket.socket) -> tuple[int, bytes] | None:
    """The next frame, by opcode and content; None where the other side hangs up, by a reset or without one."""
    head = _read(connection, 2)
    if head is None:
        return None
    size = head[1] & 127
    if size >= 126:
        longer = _read(connection, 2 if size == 126 else 8)
        size = int.from_bytes(longer or b"", "big")
    data = _read(connection, size)
    return None if data is None else (head[0] & 15, data)


def received(connection: socket.socket) -> list[tuple[int, bytes]]:
    """All frames until the other side hangs up."""
    return list(iter(lambda: read_frame(connection), None))


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            some = connection.recv(size - len(data))
        except ConnectionResetError:
            return None
        if not some:
            return None
        data += some
    return data


def close_code(frames: list[tuple[int, bytes]]) -> int | None:
    """With what a close frame among them ends the socket."""
    return next((struct.unpack("!H", data[:2])[0] for opcode, data in frames if opcode == CLOSE and data), None)
