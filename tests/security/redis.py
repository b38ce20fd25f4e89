"""As much of a Redis as counting needs, on a port of its own: there is none to be had where the tests run."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any


class Redis(socketserver.ThreadingTCPServer):
    """Its counts by key: how many, and until when."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Talk)
        self.counts: dict[str, tuple[int, float]] = {}
        self.asked = 0
        self.silent = False
        self._open: list[Any] = []
        self.port: int = self.server_address[1]

    def __enter__(self) -> Redis:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)


class _Talk(socketserver.StreamRequestHandler):
    server: Redis

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            self.server.asked += 1
            if not self.server.silent:
                answer: Callable[..., bytes] = getattr(self, f"_{words[0].lower()}", self._other)
                self.wfile.write(answer(*words[1:]))

    def _word(self) -> str:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2].decode()

    def _hello(self, *_: Any) -> bytes:
        return b"-NOPROTO unsupported protocol version\r\n"

    def _evalsha(self, script: str, keys: str, key: str, expiry: str, amount: str) -> bytes:
        now = time.time()
        count, ends = self.server.counts.get(key, (0, 0.0))
        count, ends = (count, ends) if ends > now else (0, now + float(expiry))
        self.server.counts[key] = (count + int(amount), ends)
        return b":%d\r\n" % (count + int(amount))

    def _ttl(self, key: str) -> bytes:
        return b":%d\r\n" % int(self.server.counts[key][1] - time.time())

    def _other(self, *_: Any) -> bytes:
        return b"+OK\r\n"
