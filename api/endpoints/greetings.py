"""An example endpoint to copy: a request body, a response and a function."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.rest import post


class Greeting(BaseModel):
    """The person to greet."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="The name of the person to greet.",
        examples=["Ada"],
    )


class Message(BaseModel):
    """A greeting."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(
        max_length=200,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="The text of the greeting.",
        examples=["Hello, Ada!"],
    )


@post("/greetings", summary="Greet a person", status=200)
async def greet(greeting: Greeting) -> Message:
    """Returns a greeting. It does not use the database: it is an example to copy."""
    return Message(message=f"Hello, {greeting.name}!")
