"""uvicorn with our limits: processes, listeners, workers, graceful shutdown, and the HTTP protocol."""
