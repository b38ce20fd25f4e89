"""Looking after a database file: copies of it, and whether it is well. Nothing here needs a server to be stopped."""
