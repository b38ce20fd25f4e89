"""GraphQL by strawberry-django, whose optimizer prefetches nested lists."""

from __future__ import annotations

import strawberry
import strawberry_django
from directory import models
from django.db.models import Prefetch
from strawberry_django.optimizer import DjangoOptimizerExtension

ordered = Prefetch("groups", queryset=models.Group.objects.order_by("id"))


@strawberry_django.type(models.Group)
class Group:
    id: strawberry.ID
    name: strawberry.auto
    description: strawberry.auto
    active: strawberry.auto


@strawberry_django.type(models.User)
class User:
    id: strawberry.ID
    first_name: strawberry.auto
    last_name: strawberry.auto
    age: strawberry.auto
    email: strawberry.auto
    external_id: strawberry.auto
    active: strawberry.auto
    created_at: strawberry.auto
    updated_at: strawberry.auto
    version: strawberry.auto

    @strawberry_django.field(prefetch_related=[ordered])
    def groups(self, first: int = 20) -> list[Group]:
        return list(self.groups.all())[:first]


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class UserConnection:
    rows: strawberry.Private[list[models.User]]
    first: strawberry.Private[int]

    @strawberry_django.field
    def nodes(self) -> list[User]:
        return self.rows[: self.first]

    @strawberry.field
    def page_info(self) -> PageInfo:
        shown = self.rows[: self.first]
        return PageInfo(has_next_page=len(self.rows) > self.first, end_cursor=shown[-1].id if shown else None)


@strawberry.type
class Query:
    @strawberry_django.field
    def user(self, id: strawberry.ID) -> User | None:
        return models.User.objects.filter(id=id).first()

    @strawberry.field
    def users(self, info: strawberry.Info, first: int = 20, after: str | None = None) -> UserConnection:
        users = models.User.objects.order_by("id")
        if after is not None:
            users = users.filter(id__gt=after)
        names = {field.name for selected in info.selected_fields for field in selected.selections}
        nodes = next(
            field for selected in info.selected_fields for field in selected.selections if field.name == "nodes"
        )
        if "nodes" in names and any(field.name == "groups" for field in nodes.selections):
            users = users.prefetch_related(ordered)
        return UserConnection(rows=list(users[: first + 1]), first=first)


schema = strawberry.Schema(query=Query, extensions=[DjangoOptimizerExtension])
