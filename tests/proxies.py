"""nginx and haproxy in front of a server, with connections to it that are kept, and what they say they passed on."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.framing import Seen
from tests.wires import free_port

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 4000; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  log_format passed escape=json
    '{{"method":"$request_method","target":"$request_uri","status":"$upstream_status","body":"$request_body"}}';
  access_log {folder}/passed.log passed;
  client_body_buffer_size 64k; large_client_header_buffers 4 32k;
  upstream server {{ server 127.0.0.1:{upstream}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_next_upstream off; {options} }}
  }}
}}
"""
HAPROXY = """
global
  log stdout len 65000 format raw local0
  maxconn 2000
  nbthread 1  # of two that write to the log at the same time one gives up
defaults
  mode http
  log global
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-request 60s
  http-reuse always
  retries 0
frontend clients
  bind 127.0.0.1:{port}
  {options}
  http-request set-var(txn.target) url
  http-request set-var(txn.body) req.body
  log-format %ST,%s,%HM,%[var(txn.target),hex],%[var(txn.body),hex]
  default_backend servers
backend servers
  server one 127.0.0.1:{upstream}
"""
# Name, configuration, options, and whether the proxy knows the whole body before it passes a request on.
PROXIES = {
    "nginx": (NGINX, 'proxy_set_header Connection "";', True),
    "nginx that passes Upgrade on": (
        NGINX,
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;",
        True,
    ),
    "nginx that asks for an upgrade and does not buffer": (
        NGINX,
        'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_request_buffering off;',
        False,
    ),
    "haproxy": (HAPROXY, "", False),
    "haproxy that buffers": (HAPROXY, "option http-buffer-request", True),
}


class Proxy:
    """One proxy in front of one server."""

    def __init__(self, kind: str, folder: Path, upstream: int) -> None:
        self.configuration, options, self.knows_bodies = PROXIES[kind]
        self.port = free_port()
        self._folder = folder
        text = self.configuration.format(folder=folder, port=self.port, upstream=upstream, options=options)
        (folder / "proxy.conf").write_text(text)

    @staticmethod
    def program(kind: str) -> str | None:
        """Where it is installed, if it is."""
        name = kind.partition(" ")[0]
        return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")

    @contextlib.contextmanager
    def running(self, program: str) -> Iterator[Proxy]:
        """Run it."""
        configuration = self._folder / "proxy.conf"
        command = [program, "-p", str(self._folder), "-c", str(configuration)]
        if self.configuration is HAPROXY:
            command = [program, "-db", "-f", str(configuration)]
        with (self._folder / "output").open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while not self._listens():
                assert process.poll() is None, (self._folder / "output").read_text()
                time.sleep(0.02)
            yield self
        finally:
            process.kill()
            process.wait()

    def passed(self) -> list[Seen]:
        """The requests that it has passed on and that were answered with 200."""
        if self.configuration is HAPROXY:
            lines = (self._folder / "output").read_text().splitlines()
            fields = [line.split(",") for line in lines if line.count(",") == 4]
            return [
                Seen(method, _from_hex(target).decode("latin-1"), _from_hex(body))
                for status, server, method, target, body in fields
                if (status, server) == ("200", "one")
            ]
        lines = (self._folder / "passed.log").read_text("latin-1").splitlines()
        entries = [json.loads(line, strict=False) for line in lines]
        return [
            Seen(entry["method"], entry["target"], entry["body"].encode("latin-1"))
            for entry in entries
            if entry["status"] == "200"
        ]

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def _from_hex(part: str) -> bytes:
    return b"" if part == "-" else bytes.fromhex(part)
