"""Several server processes on the same listeners, and their supervisor.

A worker that dies is replaced; one that cannot start ends them all. The supervisor signals shutdown to workers by
closing a pipe, not by a signal: process managers send SIGTERM to the workers as well, and a second signal means "at
once". The pipe also closes when the supervisor is killed, so no worker outlives it.
`docs/decisions/0012-worker-supervisor.md` says why this is not uvicorn's supervisor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

# uvicorn's exit code if the application does not start.
STARTUP_FAILURE = 3
# Terminals and process managers may send the same signal twice.
REPEATED_SIGNAL_SECONDS = 0.25
# A worker that lived for less is replaced after a pause.
SHORT_LIFE_SECONDS, PAUSE_SECONDS = 5.0, 1.0
# After the signal: when workers that have not exited are killed.
KILL_SECONDS = 24
log = logging.getLogger("uvicorn.error")

# What a worker runs, given the end of the pipe to watch.
Serve = Callable[[int], None]


class WorkerSupervisor:
    """Runs `count` worker processes."""

    def __init__(self, count: int, serve: Serve, listeners: Sequence[socket.socket]) -> None:
        self._count, self._serve, self._listeners = count, serve, listeners
        self._started_at: dict[int, float] = {}
        self._read_end, self._write_end = os.pipe()
        self._signalled_at: float | None = None
        self._failed = False

    def run(self) -> int:
        """Run until a signal arrives and all workers have exited; return the exit code."""
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self._handle_signal)
        for _ in range(self._count):
            self._start_worker()
        while self._started_at:
            worker, status = os.wait()
            if started_at := self._started_at.pop(worker, None):
                self._worker_exited(worker, os.waitstatus_to_exitcode(status), time.monotonic() - started_at)
        return 1 if self._failed else 0

    def _start_worker(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if worker := os.fork():
            self._started_at[worker] = time.monotonic()
            return
        code = 1
        try:
            for signal_number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signal_number, signal.SIG_DFL)
            os.close(self._write_end)
            self._serve(self._read_end)
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
        except BaseException:
            log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _worker_exited(self, worker: int, code: int, lifetime: float) -> None:
        if self._signalled_at is not None:
            return
        if code == STARTUP_FAILURE:
            log.error("Worker %d could not start.", worker)
            self._failed = True
            self._begin_shutdown()
            return
        log.error("Worker %d exited with %d and is replaced.", worker, code)
        if lifetime < SHORT_LIFE_SECONDS:
            time.sleep(PAUSE_SECONDS)
        if self._signalled_at is None:
            self._start_worker()

    def _handle_signal(self, signal_number: int, frame: FrameType | None) -> None:
        if self._signalled_at is None:
            self._begin_shutdown()
        elif time.monotonic() - self._signalled_at > REPEATED_SIGNAL_SECONDS:
            self._kill_workers()
            signal.signal(signal_number, signal.SIG_DFL)
            os.kill(os.getpid(), signal_number)

    def _begin_shutdown(self) -> None:
        """Close the pipe. The listeners stay open until the last worker has emptied their queues."""
        self._signalled_at = time.monotonic()
        signal.signal(signal.SIGALRM, lambda signal_number, frame: self._kill_workers())
        signal.alarm(KILL_SECONDS)
        for listener in self._listeners:
            listener.close()
        os.close(self._write_end)

    def _kill_workers(self) -> None:
        for worker in self._started_at:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
