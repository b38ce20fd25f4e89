"""What the REST and GraphQL APIs share: reading requests, problem details, conditional requests."""
