"""What the directory is. Nothing in here knows of HTTP."""
