"""A first endpoint, to copy: what it takes, what it answers, and what it does."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.rest.typed_endpoints import post


class Greeting(BaseModel):
    """Whom to greet."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="Who is greeted.",
        examples=["Ada"],
    )


class Message(BaseModel):
    """A greeting."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(
        max_length=200,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="What is said.",
        examples=["Hello, Ada!"],
    )


@post("/greetings", summary="Greet somebody", status=200)
async def greet(greeting: Greeting) -> Message:
    """Says hello. It keeps nothing, needs no database, and is here to be copied."""
    return Message(message=f"Hello, {greeting.name}!")
