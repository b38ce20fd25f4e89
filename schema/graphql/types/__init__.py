"""The GraphQL types that follow from the models."""
