"""The REST API: endpoints from models and from typed functions."""
