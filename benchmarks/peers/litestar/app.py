"""Litestar with SQLAlchemy's asynchronous sessions and msgspec, as its documentation recommends."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from random import randrange, sample
from typing import Annotated, Any

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyInitPlugin,
)
from litestar.contrib.jinja import JinjaTemplateEngine
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from litestar.response import Template
from litestar.template.config import TemplateConfig
from msgspec import Meta, Struct, field
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils import uuid7

from litestar import Litestar, MediaType, get, post


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    first_name: Mapped[str]
    last_name: Mapped[str | None]
    age: Mapped[int]
    email: Mapped[str | None] = mapped_column(unique=True)
    external_id: Mapped[str | None] = mapped_column(unique=True)
    active: Mapped[bool]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    version: Mapped[int]


class World(Base):
    __tablename__ = "world"

    id: Mapped[int] = mapped_column(primary_key=True)
    random_number: Mapped[int]


class Fortune(Base):
    __tablename__ = "fortune"

    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]


class UserCreate(Struct, forbid_unknown_fields=True):
    first_name: Annotated[str, Meta(min_length=1, max_length=100)]
    age: Annotated[int, Meta(ge=0, le=150)]
    last_name: Annotated[str, Meta(max_length=100)] | None = None
    email: Annotated[str, Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    external_id: Annotated[str, Meta(max_length=255)] | None = None
    active: bool = True


class UserOut(Struct):
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


class UserPage(Struct):
    items: list[UserOut]
    next: str | None


class Number(Struct):
    id: int
    number: int = field(name="randomNumber")


def shown(user: User) -> UserOut:
    return UserOut(
        user.id,
        user.first_name,
        user.last_name,
        user.age,
        user.email,
        user.external_id,
        user.active,
        user.created_at,
        user.updated_at,
        user.version,
    )


@get("/users/{id:str}")
async def read_user(id: str, db_session: AsyncSession) -> UserOut:
    user = await db_session.get(User, id)
    if user is None:
        raise NotFoundException
    return shown(user)


@get("/users")
async def read_users(
    db_session: AsyncSession, limit: Annotated[int, Parameter(ge=1, le=100)] = 20, after: str | None = None
) -> UserPage:
    statement = select(User).order_by(User.id).limit(limit + 1)
    if after is not None:
        statement = statement.where(User.id > after)
    users = (await db_session.scalars(statement)).all()
    return UserPage([shown(user) for user in users[:limit]], users[limit - 1].id if len(users) > limit else None)


@post("/users")
async def create_user(data: UserCreate, db_session: AsyncSession) -> UserOut:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    user = User(
        id=str(uuid7()),
        first_name=data.first_name,
        last_name=data.last_name,
        age=data.age,
        email=data.email,
        external_id=data.external_id,
        active=data.active,
        created_at=moment,
        updated_at=moment,
        version=1,
    )
    db_session.add(user)
    await db_session.commit()
    return shown(user)


def row_count(queries: str) -> int:
    return min(max(int(queries), 1), 500) if queries.isdecimal() else 1


@get("/queries")
async def run_queries(db_session: AsyncSession, queries: str = "1") -> list[Number]:
    worlds = [await db_session.get_one(World, randrange(1, 10_001)) for _ in range(row_count(queries))]
    return [Number(world.id, world.random_number) for world in worlds]


@get("/updates")
async def run_updates(db_session: AsyncSession, queries: str = "1") -> list[Number]:
    worlds = [await db_session.get_one(World, id) for id in sorted(sample(range(1, 10_001), row_count(queries)))]
    for world in worlds:
        world.random_number = randrange(1, 10_001)
    await db_session.commit()
    return [Number(world.id, world.random_number) for world in worlds]


@get("/fortunes")
async def render_fortunes(db_session: AsyncSession) -> Template:
    fortunes = list(await db_session.scalars(select(Fortune)))
    fortunes.append(Fortune(id=0, message="Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune.message)
    return Template("fortunes.html", context={"fortunes": fortunes})


@get("/json")
async def greet() -> dict[str, str]:
    return {"message": "Hello, World!"}


@get("/plaintext", media_type=MediaType.TEXT)
async def greet_plainly() -> str:
    return "Hello, World!"


address = (
    os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
)
database = SQLAlchemyAsyncConfig(
    connection_string=address,
    session_config=AsyncSessionConfig(expire_on_commit=False),
    engine_config=EngineConfig(pool_size=32),
)


def configure(connection: Any, record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


if address.startswith("sqlite"):
    event.listen(database.get_engine().sync_engine, "connect", configure)

app = Litestar(
    [read_user, read_users, create_user, run_queries, run_updates, render_fortunes, greet, greet_plainly],
    plugins=[SQLAlchemyInitPlugin(config=database)],
    template_config=TemplateConfig(directory=Path("templates"), engine=JinjaTemplateEngine),
    openapi_config=None,
    logging_config=None,
)
