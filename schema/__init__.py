"""The directory itself, without HTTP: models, GraphQL schema, engine, migrations and tools."""
