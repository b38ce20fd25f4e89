"""The GraphQL face of the directory, built from the models. It runs without HTTP."""
