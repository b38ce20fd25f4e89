"""A relay between strangers and a server, in the forms that such programs have.

Run as `python tests/relay.py FORM TARGET PATH`. It says where it listens (a port, or PATH for a Unix socket), and
passes on whatever it is sent, byte by byte.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends; a reset counts as its end, and the socket is kept open."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def relay(client: socket.socket, port: int) -> None:
    """Copy in both directions over a connection of its own, and close both at the end."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=pump, args=(server, client))
        back.start()
        pump(client, server)
        back.join()


def reset_first(client: socket.socket, port: int) -> None:
    """Read a request, wait until its sender has reset the connection, and pass it on then."""
    request = client.recv(65536)
    with contextlib.suppress(OSError):
        client.recv(1)
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(request)
        server.recv(65536)
    print("passed on", flush=True)
    client.close()


def reuse(client: socket.socket, server: socket.socket) -> None:
    """Pass on one request over a connection that is kept for the next client."""
    with client:
        server.sendall(client.recv(65536))
        client.sendall(server.recv(65536))


def main(form: str, port: int, path: str) -> None:
    family, address = (socket.AF_UNIX, path) if form == "unix" else (socket.AF_INET, ("127.0.0.1", 0))
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    kept = socket.create_connection(("127.0.0.1", port)) if form == "reuse" else None
    if kept is not None:  # the first request is its own, as a health check is
        kept.sendall(b"GET /users HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        print(kept.recv(65536).split()[1].decode(), flush=True)
    print(path if form == "unix" else listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        if kept is not None:
            reuse(client, kept)
        elif form == "reset":
            reset_first(client, port)
        elif form == "once":  # as `nc -l` and `socat TCP-LISTEN` without `fork`
            listener.close()
            relay(client, port)
            return
        elif form == "fork":
            if os.fork() == 0:
                listener.close()
                relay(client, port)
                os._exit(0)
            client.close()
        else:
            threading.Thread(target=relay, args=(client, port), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
