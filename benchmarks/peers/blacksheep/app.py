"""BlackSheep with SQLAlchemy Core's asynchronous connections, as its documentation recommends, and orjson."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from random import randrange, sample
from typing import Any

import orjson
from blacksheep.settings.json import json_settings
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, bindparam, event, insert, select, update
from sqlalchemy.ext.asyncio import create_async_engine
from uuid_utils import uuid7

from blacksheep import Application, FromQuery, Response, created, html, json, not_found, text

json_settings.use(loads=orjson.loads, dumps=lambda value: orjson.dumps(value).decode())

metadata = MetaData()
users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("first_name", String),
    Column("last_name", String),
    Column("age", Integer),
    Column("email", String),
    Column("external_id", String),
    Column("active", Boolean),
    Column("created_at", String),
    Column("updated_at", String),
    Column("version", Integer),
)
world = Table("world", metadata, Column("id", Integer, primary_key=True), Column("random_number", Integer))
fortune = Table("fortune", metadata, Column("id", Integer, primary_key=True), Column("message", String))

names = [str(column.name) for column in users.columns]
read_one = select(users).where(users.c.id == bindparam("id"))
read_page = select(users).where(users.c.id > bindparam("after")).order_by(users.c.id).limit(bindparam("limit"))
read_number = select(world.c.random_number).where(world.c.id == bindparam("id"))
write_number = update(world).where(world.c.id == bindparam("place")).values(random_number=bindparam("number"))

address = (
    os.environ["DATABASE_URL"].replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
)
engine = create_async_engine(address, pool_size=32)
page = Environment(loader=FileSystemLoader("templates"), autoescape=True).get_template("fortunes.html")
app = Application()


def configure(connection: Any, record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


if address.startswith("sqlite"):
    event.listen(engine.sync_engine, "connect", configure)


class UserCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first_name: str = Field(min_length=1, max_length=100)
    last_name: str | None = Field(default=None, max_length=100)
    age: int = Field(ge=0, le=150)
    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    external_id: str | None = Field(default=None, max_length=255)
    active: bool = True


@app.router.get("/users/{id}")
async def read_user(id: str) -> Response:
    async with engine.connect() as connection:
        row = (await connection.execute(read_one, {"id": id})).one_or_none()
    return json(dict(zip(names, row))) if row else not_found()


@app.router.get("/users")
async def read_users(limit: FromQuery[int] = FromQuery(20), after: FromQuery[str] = FromQuery("")) -> Response:
    async with engine.connect() as connection:
        bound = {"after": after.value, "limit": limit.value + 1}
        rows = (await connection.execute(read_page, bound)).all()
    items = [dict(zip(names, row)) for row in rows[: limit.value]]
    return json({"items": items, "next": items[-1]["id"] if len(rows) > limit.value else None})


@app.router.post("/users")
async def create_user(data: UserCreate) -> Response:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    row = {"id": str(uuid7()), **data.model_dump(), "created_at": moment, "updated_at": moment, "version": 1}
    async with engine.begin() as connection:
        await connection.execute(insert(users), row)
    return created(row)


def row_count(queries: str) -> int:
    return min(max(int(queries), 1), 500) if queries.isdecimal() else 1


@app.router.get("/queries")
async def run_queries(queries: FromQuery[str] = FromQuery("1")) -> Response:
    async with engine.connect() as connection:
        places = [randrange(1, 10_001) for _ in range(row_count(queries.value))]
        numbers = [{"id": id, "randomNumber": await connection.scalar(read_number, {"id": id})} for id in places]
    return json(numbers)


@app.router.get("/updates")
async def run_updates(queries: FromQuery[str] = FromQuery("1")) -> Response:
    async with engine.begin() as connection:
        places = sorted(sample(range(1, 10_001), row_count(queries.value)))
        numbers = [{"id": id, "randomNumber": await connection.scalar(read_number, {"id": id})} for id in places]
        for row in numbers:
            row["randomNumber"] = randrange(1, 10_001)
        await connection.execute(write_number, [{"place": row["id"], "number": row["randomNumber"]} for row in numbers])
    return json(numbers)


@app.router.get("/fortunes")
async def render_fortunes() -> Response:
    async with engine.connect() as connection:
        fortunes = [{"id": id, "message": message} for id, message in await connection.execute(select(fortune))]
    fortunes.append({"id": 0, "message": "Additional fortune added at request time."})
    fortunes.sort(key=lambda row: row["message"])
    return html(page.render(fortunes=fortunes))


@app.router.get("/json")
async def greet() -> Response:
    return json({"message": "Hello, World!"})


@app.router.get("/plaintext")
async def greet_plainly() -> Response:
    return text("Hello, World!")
