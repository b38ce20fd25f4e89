"""The commands of `python -m api`, one module per topic."""
