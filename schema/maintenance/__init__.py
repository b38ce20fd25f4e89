"""Maintenance of a database while it is in use: backups, and checks of its integrity."""
