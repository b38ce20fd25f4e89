"""Strawberry over the same models, on SQLite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

import strawberry
from app import engine
from graph_types import Context, PageInfo, User, UserConnection, groups_of, router_of
from models import Group as GroupRow
from models import User as UserRow
from sqlmodel import Session, select
from strawberry.dataloader import DataLoader
from strawberry.types import Info


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
            groups_by_user = defaultdict(list)
            for user_id, group in session.exec(groups_of(ids)):
                groups_by_user[user_id].append(group)
            return [groups_by_user[id] for id in ids]

        yield {"session": session, "groups_of_user": DataLoader(load_fn=load_groups)}


router = router_of(Query, get_context)
