"""uvicorn with our limits: startup, processes, listeners, workers, graceful shutdown, and the HTTP protocol."""
