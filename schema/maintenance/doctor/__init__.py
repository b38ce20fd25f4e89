"""The doctor: read-only checks of a database's integrity and configuration, one module for each database."""
