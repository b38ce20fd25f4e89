"""From a GraphQL document to its response: `executor.py` is the entry; limits, validation, compilation, mutations."""
