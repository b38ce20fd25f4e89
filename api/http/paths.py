"""The paths that are exempt from limits: compared exactly, never as a prefix."""

from __future__ import annotations

from typing import Final

LIVE, READY, HEALTH, METRICS = "/health/live", "/health/ready", "/health", "/metrics"
HEALTH_PATHS: Final = frozenset((LIVE, READY, HEALTH))
# Answered even when the server is at its concurrency limit: an operator needs them most then.
PRIORITY_PATHS: Final = HEALTH_PATHS | {METRICS}
