"""The data set, and the SQLite and PostgreSQL databases that are filled with it."""
