"""Serves Tandem with TechEmpower's kinds among its own endpoints: `python -m benchmarks.tandem`."""

from __future__ import annotations

from starlette.applications import Starlette

from api import endpoints
from api.settings import Settings, read
from benchmarks.tandem import kinds


def measured(settings: Settings) -> Starlette:
    """The service with one topic more: it is added to the table of contents before the service reads that."""
    endpoints.TOPICS = (*endpoints.TOPICS, kinds)
    from api.app import create_app

    return create_app(settings)


def main() -> None:
    """Serve as `python -m api serve` does."""
    from api.server import serve

    settings = read()
    serve(measured(settings), settings)


if __name__ == "__main__":
    main()
