"""Flask with Flask-SQLAlchemy and pydantic, as their documentation recommends; orjson writes its JSON."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from random import randrange, sample

import orjson
from flask.json.provider import JSONProvider
from flask_sqlalchemy import SQLAlchemy
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils import uuid7

from flask import Flask, Response, abort, jsonify, render_template, request


class ORJSONProvider(JSONProvider):
    def dumps(self, obj, **kwargs):
        return orjson.dumps(obj).decode()

    def loads(self, s, **kwargs):
        return orjson.loads(s)

    def response(self, *args, **kwargs):
        return Response(orjson.dumps(self._prepare_response_obj(args, kwargs)), mimetype="application/json")


class Base(DeclarativeBase):
    pass


app = Flask(__name__)
app.json = ORJSONProvider(app)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
database = SQLAlchemy(app, model_class=Base, session_options={"expire_on_commit": False})


class User(database.Model):
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

    def to_dict(self):
        return {
            "id": self.id,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "age": self.age,
            "email": self.email,
            "external_id": self.external_id,
            "active": self.active,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "version": self.version,
        }


class World(database.Model):
    __tablename__ = "world"

    id: Mapped[int] = mapped_column(primary_key=True)
    random_number: Mapped[int]

    def to_dict(self):
        return {"id": self.id, "randomNumber": self.random_number}


class Fortune(database.Model):
    __tablename__ = "fortune"

    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]


class UserCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first_name: str = Field(min_length=1, max_length=100)
    last_name: str | None = Field(default=None, max_length=100)
    age: int = Field(ge=0, le=150)
    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")
    external_id: str | None = Field(default=None, max_length=255)
    active: bool = True


def configure(connection, record):
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


with app.app_context():
    if database.engine.name == "sqlite":
        event.listen(database.engine, "connect", configure)


@app.get("/users/<id>")
def read_user(id):
    return jsonify(database.get_or_404(User, id).to_dict())


@app.get("/users")
def read_users():
    limit = request.args.get("limit", 20, int)
    statement = database.select(User).order_by(User.id).limit(limit + 1)
    if after := request.args.get("after"):
        statement = statement.where(User.id > after)
    users = database.session.scalars(statement).all()
    more = users[limit - 1].id if len(users) > limit else None
    return jsonify({"items": [user.to_dict() for user in users[:limit]], "next": more})


@app.post("/users")
def create_user():
    try:
        new_user = UserCreate.model_validate_json(request.get_data())
    except ValueError:
        abort(422)
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    user = User(id=str(uuid7()), created_at=moment, updated_at=moment, version=1, **new_user.model_dump())
    database.session.add(user)
    database.session.commit()
    return jsonify(user.to_dict()), 201


def row_count():
    queries = request.args.get("queries", "")
    return min(max(int(queries), 1), 500) if queries.isdecimal() else 1


@app.get("/queries")
def run_queries():
    worlds = [database.session.get_one(World, randrange(1, 10_001)) for _ in range(row_count())]
    return jsonify([world.to_dict() for world in worlds])


@app.get("/updates")
def run_updates():
    worlds = [database.session.get_one(World, id) for id in sorted(sample(range(1, 10_001), row_count()))]
    for world in worlds:
        world.random_number = randrange(1, 10_001)
    database.session.commit()
    return jsonify([world.to_dict() for world in worlds])


@app.get("/fortunes")
def render_fortunes():
    fortunes = list(database.session.scalars(database.select(Fortune)))
    fortunes.append(Fortune(id=0, message="Additional fortune added at request time."))
    fortunes.sort(key=lambda fortune: fortune.message)
    return render_template("fortunes.html", fortunes=fortunes)


@app.get("/json")
def greet():
    return jsonify({"message": "Hello, World!"})


@app.get("/plaintext")
def greet_plainly():
    return Response(b"Hello, World!", mimetype="text/plain")
