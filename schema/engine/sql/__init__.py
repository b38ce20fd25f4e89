"""SQL for SQLite and PostgreSQL: dialects, compiled statements, and JSON built by the database."""
