"""Tables, input and output models for both databases."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class UserBase(SQLModel):
    first_name: str = Field(min_length=1, max_length=100)
    last_name: str | None = Field(default=None, max_length=100)
    age: int = Field(ge=0, le=150)
    email: str | None = Field(default=None, max_length=254, regex=r"^[^@\s]+@[^@\s]+$", unique=True)
    external_id: str | None = Field(default=None, max_length=255, unique=True)
    active: bool = True


class UserCreate(UserBase):
    pass


class UserPublic(UserBase):
    id: str
    created_at: str
    updated_at: str
    version: int


class User(UserPublic, table=True):
    __tablename__ = "users"

    id: str = Field(primary_key=True)


class UserPage(SQLModel):
    items: list[UserPublic]
    next: str | None


class Group(SQLModel, table=True):
    __tablename__ = "groups"

    id: str = Field(primary_key=True)
    name: str
    description: str | None
    active: bool


class Membership(SQLModel, table=True):
    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, foreign_key="users.id")
    group_id: str = Field(primary_key=True, foreign_key="groups.id")
    role: str
    created_at: str


class World(SQLModel, table=True):
    id: int = Field(primary_key=True)
    random_number: int = Field(schema_extra={"serialization_alias": "randomNumber"})


class Fortune(SQLModel, table=True):
    id: int = Field(primary_key=True)
    message: str
