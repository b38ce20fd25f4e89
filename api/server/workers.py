"""Several processes that serve from the same listeners, and the one that sees to it that there are always so many.

A worker that dies is replaced; one that cannot start ends them all. A signal to leave is passed on by a pipe that
breaks, not by a signal: process managers send theirs to the workers as well, and two would mean at once. The pipe
breaks too when this process is killed, so that no worker is left behind.
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

# What uvicorn ends with when the application does not start.
STARTUP_FAILURE = 3
# Terminals and process managers may send the same signal twice.
ECHO_SECONDS = 0.25
# One that lived for less is not replaced before a moment has passed.
SHORT_LIFE_SECONDS, PAUSE_SECONDS = 5.0, 1.0
# After a signal to leave: when workers are killed that have not ended by themselves.
KILL_SECONDS = 24
log = logging.getLogger("uvicorn.error")

# What a worker does; it is given the end of the pipe to watch.
Work = Callable[[int], None]


class Workers:
    """So many processes at the same work."""

    def __init__(self, count: int, work: Work, listeners: Sequence[socket.socket]) -> None:
        self._count, self._work, self._listeners = count, work, listeners
        self._began: dict[int, float] = {}
        self._watched, self._lifeline = os.pipe()
        self._asked: float | None = None
        self._failed = False

    def run(self) -> int:
        """Until a signal says to leave, and all have; the exit code."""
        for sort in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sort, self._signalled)
        for _ in range(self._count):
            self._start()
        while self._began:
            worker, status = os.wait()
            if began := self._began.pop(worker, None):
                self._ended(worker, os.waitstatus_to_exitcode(status), time.monotonic() - began)
        return 1 if self._failed else 0

    def _start(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if worker := os.fork():
            self._began[worker] = time.monotonic()
            return
        code = 1
        try:
            for sort in (signal.SIGTERM, signal.SIGINT):
                signal.signal(sort, signal.SIG_DFL)
            os.close(self._lifeline)
            self._work(self._watched)
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
        except BaseException:
            log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _ended(self, worker: int, code: int, lived: float) -> None:
        if self._asked is not None:
            return
        if code == STARTUP_FAILURE:
            log.error("Worker %d could not start.", worker)
            self._failed = True
            self._leave()
            return
        log.error("Worker %d ended (%d); another takes its place.", worker, code)
        if lived < SHORT_LIFE_SECONDS:
            time.sleep(PAUSE_SECONDS)
        if self._asked is None:
            self._start()

    def _signalled(self, sig: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._leave()
        elif time.monotonic() - self._asked > ECHO_SECONDS:
            self._kill()
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)

    def _leave(self) -> None:
        """Tell all to leave. The listeners close when the last of them has emptied their queues."""
        self._asked = time.monotonic()
        signal.signal(signal.SIGALRM, lambda sig, frame: self._kill())
        signal.alarm(KILL_SECONDS)
        for listener in self._listeners:
            listener.close()
        os.close(self._lifeline)

    def _kill(self) -> None:
        for worker in self._began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
