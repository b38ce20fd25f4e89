"""Tandem's own command line, with TechEmpower's kinds among its endpoints: `python -m benchmarks.tandem serve`.

A topic is added to the table of contents before the service reads that; all else is as its users have it.
"""

from __future__ import annotations

import sys

from api import endpoints
from api.server import startup
from benchmarks.tandem import kinds

endpoints.TOPICS = (*endpoints.TOPICS, kinds)

if __name__ == "__main__":
    # As `python -m api` has it: a server starts without what only the other commands need.
    startup.start_directly(sys.argv[1:])
    from api.__main__ import app

    app(prog_name="python -m benchmarks.tandem")
