"""Your own GraphQL resolvers, for what is not a model. List them in `QUERIES` or `MUTATIONS`.

Each is a Strawberry type; its fields are added to `Query` or `Mutation`, beside those of the models.
"""

from __future__ import annotations

from schema.resolvers import greetings

QUERIES: tuple[type, ...] = (greetings.Query,)
MUTATIONS: tuple[type, ...] = ()
