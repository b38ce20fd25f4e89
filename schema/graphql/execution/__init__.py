"""From a GraphQL document to its response: limits, validation, selections, plans."""
