"""The commands of `python -m api`, one file a topic."""
