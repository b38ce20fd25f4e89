"""Tandem as it is measured: the service itself, and beside it TechEmpower's kinds, built on its rooms."""
