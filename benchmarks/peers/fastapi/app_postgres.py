"""FastAPI and SQLModel on PostgreSQL, as their documentation recommends; `graphs_postgres.py` adds Strawberry."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import randrange, sample
from typing import Annotated

from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates
from models import Fortune, User, UserCreate, UserPage, UserPublic, World
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession
from uuid_utils import uuid7

from fastapi import Depends, FastAPI, HTTPException, Query, Request

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=32, max_overflow=0
)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI()
templates = Jinja2Templates(directory="templates")


@app.get("/users/{id}")
async def read_user(id: str, session: SessionDep) -> UserPublic:
    user = await session.get(User, id)
    if user is None:
        raise HTTPException(404)
    return user


@app.get("/users")
async def read_users(
    session: SessionDep, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> UserPage:
    statement = select(User).order_by(User.id).limit(limit + 1)
    if after is not None:
        statement = statement.where(User.id > after)
    users = (await session.exec(statement)).all()
    return UserPage(items=users[:limit], next=users[limit - 1].id if len(users) > limit else None)


@app.post("/users", status_code=201)
async def create_user(new_user: UserCreate, session: SessionDep) -> UserPublic:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    more = {"id": str(uuid7()), "created_at": moment, "updated_at": moment, "version": 1}
    user = User.model_validate(new_user, update=more)
    session.add(user)
    await session.commit()
    return user


async def count(queries: str | None = None) -> int:
    return min(max(int(queries), 1), 500) if queries and queries.isdecimal() else 1


Count = Annotated[int, Depends(count)]


@app.get("/queries")
async def run_queries(count: Count, session: SessionDep) -> list[World]:
    return [await session.get_one(World, randrange(1, 10_001)) for _ in range(count)]


@app.get("/updates")
async def run_updates(count: Count, session: SessionDep) -> list[World]:
    worlds = [await session.get_one(World, id) for id in sorted(sample(range(1, 10_001), count))]
    for world in worlds:
        world.random_number = randrange(1, 10_001)
    numbers = [World.model_construct(id=world.id, random_number=world.random_number) for world in worlds]
    await session.commit()
    return numbers


@app.get("/fortunes", response_class=HTMLResponse)
async def render_fortunes(request: Request, session: SessionDep) -> HTMLResponse:
    fortunes = list(await session.exec(select(Fortune)))
    fortunes.append(Fortune(id=0, message="Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune.message)
    return templates.TemplateResponse(request, "fortunes.html", {"fortunes": fortunes})


@app.get("/json")
async def greet() -> dict[str, str]:
    return {"message": "Hello, World!"}


@app.get("/plaintext", response_class=PlainTextResponse)
async def greet_plainly() -> str:
    return "Hello, World!"


from graphs_postgres import router  # noqa: E402

app.include_router(router, prefix="/graphql")
