"""An example of a resolver, to copy."""

from __future__ import annotations

from typing import Annotated

import strawberry

Name = Annotated[str, strawberry.argument(description="Who is greeted.")]


@strawberry.type
class Query:
    """Queries beside those of the models."""

    @strawberry.field(description="Says hello.")  # type: ignore[untyped-decorator]
    def greeting(self, name: Name) -> str:
        """The greeting of `POST /greetings`."""
        return f"Hello, {name}!"
