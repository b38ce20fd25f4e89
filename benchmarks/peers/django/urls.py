"""REST by django-ninja, the TechEmpower workloads as plain views; GraphQL is in `graphs.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from random import randrange, sample

import orjson
from directory.models import Fortune, User, World
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from graphs import schema
from ninja import Field, NinjaAPI, Schema
from ninja.parser import Parser
from ninja.renderers import BaseRenderer
from strawberry.django.views import GraphQLView
from uuid_utils import uuid7

from django.urls import path


class ORJSONRenderer(BaseRenderer):
    media_type = "application/json"

    def render(self, request, data, *, response_status):
        return orjson.dumps(data)


class ORJSONParser(Parser):
    def parse_body(self, request):
        return orjson.loads(request.body)


class UserCreate(Schema):
    first_name: str = Field(min_length=1, max_length=100)
    last_name: str | None = Field(default=None, max_length=100)
    age: int = Field(ge=0, le=150)
    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    external_id: str | None = Field(default=None, max_length=255)
    active: bool = True


class UserOut(Schema):
    id: str
    first_name: str
    last_name: str | None
    age: int
    email: str | None
    external_id: str | None
    active: bool
    created_at: str
    updated_at: str
    version: int


class UserPage(Schema):
    items: list[UserOut]
    next: str | None


class Number(Schema):
    id: int
    randomNumber: int = Field(alias="random_number")


api = NinjaAPI(renderer=ORJSONRenderer(), parser=ORJSONParser(), docs_url=None)


@api.get("/users/{id}", response=UserOut)
def read_user(request, id: str):
    return get_object_or_404(User, id=id)


@api.get("/users", response=UserPage)
def read_users(request, limit: int = 20, after: str | None = None):
    rows = User.objects.order_by("id")
    if after is not None:
        rows = rows.filter(id__gt=after)
    users = list(rows[: limit + 1])
    return {"items": users[:limit], "next": users[limit - 1].id if len(users) > limit else None}


@api.post("/users", response={201: UserOut})
def create_user(request, data: UserCreate):
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    user = User(id=str(uuid7()), created_at=moment, updated_at=moment, version=1, **data.dict())
    user.save(force_insert=True)
    return 201, user


def row_count(queries):
    return min(max(int(queries), 1), 500) if queries.isdecimal() else 1


@api.get("/queries", response=list[Number], by_alias=False)
def run_queries(request, queries: str = "1"):
    return [World.objects.get(id=randrange(1, 10_001)) for _ in range(row_count(queries))]


@api.get("/updates", response=list[Number], by_alias=False)
def run_updates(request, queries: str = "1"):
    with transaction.atomic():
        worlds = [World.objects.get(id=id) for id in sorted(sample(range(1, 10_001), row_count(queries)))]
        for world in worlds:
            world.random_number = randrange(1, 10_001)
        World.objects.bulk_update(worlds, ["random_number"])
    return worlds


@api.get("/json")
def greet(request):
    return {"message": "Hello, World!"}


def render_fortunes(request):
    fortunes = list(Fortune.objects.all())
    fortunes.append(Fortune(id=0, message="Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune.message)
    return render(request, "fortunes.html", {"fortunes": fortunes})


def greet_plainly(request):
    return HttpResponse(b"Hello, World!", content_type="text/plain")


urlpatterns = [
    path("fortunes", render_fortunes),
    path("plaintext", greet_plainly),
    path("graphql", GraphQLView.as_view(schema=schema, graphql_ide=None)),
    path("", api.urls),
]
