"""Tandem's command line with the TechEmpower workloads among its endpoints: `python -m benchmarks.tandem serve`.

They are added to the endpoints before the service reads those; everything else is unchanged.
"""

from __future__ import annotations

import sys

from api import endpoints
from api.server import startup
from benchmarks.tandem import techempower

endpoints.TOPICS = (*endpoints.TOPICS, techempower)

if __name__ == "__main__":
    # As in `python -m api`: a server starts without importing the other commands.
    startup.start_directly(sys.argv[1:])
    from api.__main__ import app

    app(prog_name="python -m benchmarks.tandem")
