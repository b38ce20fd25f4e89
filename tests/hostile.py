"""Clients that keep a connection busy and never let it end by itself, each in a way of its own.

A client connects and sends at once, and returns what it does again and again afterwards, so that one thread drives all
of them. Nothing that the other side does ends a client.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from tests.frames import CLOSE, CONT, PING, TEXT, frame, opened, text
from tests.wires import request

_SLOW_FILTER = '{or: [{firstName: {contains: "xq%d"}}, {lastName: {contains: "zq%d"}}]}'
# A quarter of a second of work among 20,000 people.
SLOW: Final = (
    "{ " + " ".join(f"a{n}: users(filter: {_SLOW_FILTER % (n, n)}) {{ totalCount }}" for n in range(10, 30)) + " }"
)
# Some 400 kB of answer.
_USERS = "users(first: 100) { nodes { id firstName lastName email age createdAt updatedAt } }"
LARGE: Final = "{ " + " ".join(f"a{n}: {_USERS}" for n in range(20)) + " }"
Again = Callable[[], object]
Client = Callable[[socket.socket, str], Again | None]


def posted(query: str, credential: str) -> bytes:
    body = json.dumps({"query": query}).encode()
    head = f"POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {credential}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def subscribed(number: int, query: str) -> bytes:
    return text(json.dumps({"type": "subscribe", "id": str(number), "payload": {"query": query}}))


def begun(connection: socket.socket, credential: str) -> None:
    """A socket that has been initialised."""
    opened(connection)
    connection.sendall(
        text(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {credential}"}}))
    )


# HTTP


def sends_nothing(connection: socket.socket, credential: str) -> None:
    pass


def speaks_tls(connection: socket.socket, credential: str) -> None:
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500)


def sends_a_head_byte_by_byte(connection: socket.socket, credential: str) -> Again:
    pieces = iter(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: " + b"a" * 1000)
    return lambda: connection.sendall(bytes([next(pieces)]))


def keeps_an_idle_connection(connection: socket.socket, credential: str) -> None:
    connection.sendall(request("GET", "/health/live"))


def asks_again_and_again(connection: socket.socket, credential: str) -> Again:
    return lambda: connection.sendall(request("GET", "/health/live"))


def leaves_a_body_unfinished(connection: socket.socket, credential: str) -> None:
    connection.sendall(posted("{ __typename }", credential)[:-5])


def leaves_chunks_unfinished(connection: socket.socket, credential: str) -> Again:
    head = posted("", credential).partition(b"content-length")[0]
    connection.sendall(head + b'transfer-encoding: chunked\r\n\r\n5\r\n{"que')
    return lambda: connection.sendall(b"\r\n1\r\n ")


def pipelines_slow_requests(connection: socket.socket, credential: str) -> None:
    connection.sendall(posted(SLOW, credential) * 50)


def asks_for_much_and_reads_nothing(connection: socket.socket, credential: str) -> None:
    connection.sendall(request("GET", "/openapi.json") * 90)


def reads_byte_by_byte(connection: socket.socket, credential: str) -> Again:
    connection.sendall(request("GET", "/openapi.json") * 90)
    return lambda: connection.recv(1)


def begins_to_upgrade(connection: socket.socket, credential: str) -> None:
    connection.sendall(b"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n")


# WebSockets


def never_initialises(connection: socket.socket, credential: str) -> None:
    opened(connection)


def pings_for_ever(connection: socket.socket, credential: str) -> Again:
    begun(connection, credential)
    return lambda: connection.sendall(frame(PING, b"x"))


def pings_by_messages_for_ever(connection: socket.socket, credential: str) -> Again:
    begun(connection, credential)
    return lambda: connection.sendall(text('{"type": "ping"}'))


def never_ends_a_message(connection: socket.socket, credential: str) -> Again:
    begun(connection, credential)
    connection.sendall(frame(TEXT, b"{", fin=False))
    return lambda: connection.sendall(frame(CONT, b" " * 2000, fin=False))


def does_not_answer_a_close(connection: socket.socket, credential: str) -> Again:
    begun(connection, credential)
    connection.sendall(text("[]"))
    return lambda: connection.sendall(frame(PING))


def leaves_its_close_unfinished(connection: socket.socket, credential: str) -> None:
    begun(connection, credential)
    connection.sendall(frame(CLOSE, b"\x03\xe8")[:-1])


def closes_and_reads_nothing(connection: socket.socket, credential: str) -> None:
    begun(connection, credential)
    connection.sendall(b"".join(subscribed(number, LARGE) for number in range(15)))
    time.sleep(1.5)
    connection.sendall(frame(CLOSE, b"\x03\xe8"))


def runs_slow_operations(connection: socket.socket, credential: str) -> None:
    begun(connection, credential)
    connection.sendall(b"".join(subscribed(number, SLOW) for number in range(100)))


def subscribes_and_reads_nothing(connection: socket.socket, credential: str) -> None:
    begun(connection, credential)
    connection.sendall(b"".join(subscribed(number, LARGE) for number in range(100)))


CLIENTS: tuple[Client, ...] = (
    sends_nothing,
    speaks_tls,
    sends_a_head_byte_by_byte,
    keeps_an_idle_connection,
    asks_again_and_again,
    leaves_a_body_unfinished,
    leaves_chunks_unfinished,
    pipelines_slow_requests,
    asks_for_much_and_reads_nothing,
    reads_byte_by_byte,
    begins_to_upgrade,
    never_initialises,
    pings_for_ever,
    pings_by_messages_for_ever,
    never_ends_a_message,
    does_not_answer_a_close,
    leaves_its_close_unfinished,
    closes_and_reads_nothing,
    runs_slow_operations,
    subscribes_and_reads_nothing,
)


@contextlib.contextmanager
def besieged(port: int, credential: str, *, each: int = 2) -> Iterator[None]:
    """Meanwhile so many clients of each sort are connected."""
    connections: list[socket.socket] = []
    again: list[Again] = []
    over = threading.Event()

    def drive() -> None:
        while not over.wait(0.05):
            for step in again:
                with contextlib.suppress(OSError, StopIteration):
                    step()

    driver = threading.Thread(target=drive)
    try:
        for client in CLIENTS * each:
            connection = socket.socket()
            connections.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            step = client(connection, credential)
            connection.setblocking(False)
            if step is not None:
                again.append(step)
        driver.start()
        yield
    finally:
        over.set()
        if driver.is_alive():
            driver.join()
        for connection in connections:
            connection.close()
