"""The GraphQL schema derived from the models (`schema.py`, `types/`) and its execution; runs without HTTP."""
