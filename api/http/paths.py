"""The paths whose requests are exempt from limits: each by its exact spelling, never as a prefix."""

from __future__ import annotations

from typing import Final

LIVE, READY, HEALTH, METRICS = "/health/live", "/health/ready", "/health", "/metrics"
HEALTH_PATHS: Final = frozenset((LIVE, READY, HEALTH))
# Answered when all places are taken: an operator needs them most then.
PRIORITY_PATHS: Final = HEALTH_PATHS | {METRICS}
