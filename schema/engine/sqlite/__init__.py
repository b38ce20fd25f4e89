"""The SQLite driver: one writer, several readers, and short reads on the event loop's thread."""
