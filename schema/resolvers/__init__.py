"""Resolvers of one's own, on Strawberry: what is no model. This is their table of contents.

Each class is a Strawberry type whose fields stand beside the models' in `Query` or in `Mutation`.
"""

from __future__ import annotations

from schema.resolvers import greetings

QUERIES: tuple[type, ...] = (greetings.Query,)
MUTATIONS: tuple[type, ...] = ()
