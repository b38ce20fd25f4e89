"""Strawberry types for both databases; nested lists come from a DataLoader."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import strawberry
from models import Group as GroupRow
from models import Membership
from sqlmodel import select
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter
from strawberry.types import Info

Context = dict[str, Any]


@strawberry.type
class Group:
    id: strawberry.ID
    name: str
    description: str | None
    active: bool


@strawberry.type
class User:
    id: strawberry.ID
    first_name: str
    last_name: str | None
    age: int
    email: str | None
    external_id: str | None
    active: bool
    created_at: str
    updated_at: str
    version: int

    @strawberry.field
    async def groups(self, info: Info[Context, None], first: int = 20) -> list[Group]:
        groups = await info.context["groups_of_user"].load(self.id)
        return groups[:first]


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class UserConnection:
    nodes: list[User]
    page_info: PageInfo


def groups_of(ids: list[str]) -> Any:
    """The query for the groups of several users."""
    return (
        select(Membership.user_id, GroupRow)
        .join(GroupRow, GroupRow.id == Membership.group_id)
        .where(Membership.user_id.in_(ids))
        .order_by(Membership.user_id, Membership.group_id)
    )


def router_of(query: type, get_context: Callable[[], AsyncIterator[Context]]) -> Any:
    """The GraphQL endpoint; with Strawberry's caches if `CACHES` is set."""
    caches = [ParserCache, ValidationCache] if os.environ.get("CACHES") else []
    schema = strawberry.Schema(query=query, extensions=caches)
    return GraphQLRouter(schema, context_getter=get_context, graphql_ide=None)
