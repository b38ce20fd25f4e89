"""A WebSocket as uvicorn has it, but that it ends for those, too, who read nothing, and that nobody logs its query.

Uvicorn writes a line for each socket, with path and query, at a level that production has.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# So long after the last word the other side may take to read it and to hang up.
PARTING_SECONDS = 5.0
log = logging.getLogger("tandem.websocket")
log.setLevel(logging.WARNING)


class Socket(WebSocketsSansIOProtocol):
    """One WebSocket, whose connection does not outlive what was said on it by much."""

    parting = PARTING_SECONDS
    _end: asyncio.TimerHandle | None = None

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.logger = log

    async def run_asgi(self) -> None:
        """Serve. What is still to be sent then is thrown away, if it is not taken in a while."""
        await super().run_asgi()
        if not self.disconnected:
            self._end = self.loop.call_later(self.parting, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
