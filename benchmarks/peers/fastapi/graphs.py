"""Strawberry over the same models, with a DataLoader for what is nested."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import strawberry
from app import Group as GroupRow
from app import Membership, engine
from app import User as UserRow
from sqlmodel import Session, select
from strawberry.dataloader import DataLoader
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
        found = await info.context["groups_of_user"].load(self.id)
        return found[:first]


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class UserConnection:
    nodes: list[User]
    page_info: PageInfo


@strawberry.type
class Query:
    @strawberry.field
    def user(self, info: Info[Context, None], id: strawberry.ID) -> User | None:
        return info.context["session"].get(UserRow, id)

    @strawberry.field
    def users(self, info: Info[Context, None], first: int = 20, after: str | None = None) -> UserConnection:
        statement = select(UserRow).order_by(UserRow.id).limit(first + 1)
        if after is not None:
            statement = statement.where(UserRow.id > after)
        rows = info.context["session"].exec(statement).all()
        nodes = rows[:first]
        info = PageInfo(has_next_page=len(rows) > first, end_cursor=nodes[-1].id if nodes else None)
        return UserConnection(nodes=nodes, page_info=info)


async def get_context() -> AsyncIterator[Context]:
    with Session(engine) as session:

        async def load_groups(ids: list[str]) -> list[Sequence[GroupRow]]:
            statement = (
                select(Membership.user_id, GroupRow)
                .join(GroupRow, GroupRow.id == Membership.group_id)
                .where(Membership.user_id.in_(ids))
                .order_by(Membership.user_id, Membership.group_id)
            )
            found = defaultdict(list)
            for user_id, group in session.exec(statement):
                found[user_id].append(group)
            return [found[id] for id in ids]

        yield {"session": session, "groups_of_user": DataLoader(load_fn=load_groups)}


caches = [ParserCache, ValidationCache] if os.environ.get("CACHES") else []
schema = strawberry.Schema(query=Query, extensions=caches)
router = GraphQLRouter(schema, context_getter=get_context, graphql_ide=None)
