"""`@verb`: what can be done with a record besides finding, creating, updating and deleting it.

    @verb(role("admin"))
    def promote(self, level: int) -> None:
        \"\"\"Move a person up.\"\"\"
        self.level = level

The method is given a draft instead of a record: what it assigns is what is changed, in one statement and under `rule`.
Its further parameters, if any, are the body of the REST call and the input of the GraphQL mutation.

`@once` is for what only the answer to a creation shows:

    @once
    def secret(self) -> str:
        \"\"\"The secret. It is shown this once, and kept nowhere.\"\"\"
        secret = token_urlsafe()
        self.digest = digest_of(secret)
        return secret

The draft knows the new record's `id`; what the method assigns is stored, what it returns is given once and forgotten.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from schema.engine.model.policy import Rule


@dataclass(frozen=True, slots=True)
class Action:
    """A model's own verb: its name, who may, and what it changes."""

    name: str
    description: str
    rule: Rule
    body: Callable[..., None]

    @property
    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """Each parameter's type and default (`...` for none)."""
        _, *given = inspect.signature(self.body).parameters.values()
        return {it.name: (it.annotation, ... if it.default is it.empty else it.default) for it in given}

    @property
    def camel_name(self) -> str:
        """Its name at the beginning of a longer one, in camelCase."""
        first, *rest = self.name.split("_")
        return first + "".join(part.capitalize() for part in rest)

    def changes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that it sets, and to what."""
        draft = SimpleNamespace()
        self.body(draft, **arguments)
        return vars(draft)


@dataclass(frozen=True, slots=True)
class ShownOnce:
    """What only the answer to a creation shows: its name, and what makes it."""

    name: str
    description: str
    body: Callable[[Any], str]

    def made_for(self, id: str) -> tuple[str, dict[str, Any]]:
        """It, for the new record with this id, and the fields that it sets."""
        draft = SimpleNamespace(id=id)
        given = self.body(draft)
        return given, {name: value for name, value in vars(draft).items() if name != "id"}


def shown_once(body: Callable[[Any], str]) -> ShownOnce:
    """Make a method what only the answer to a creation shows, under the method's name."""
    assert body.__doc__, f"{body.__qualname__}: its docstring is its description at both doors"
    return ShownOnce(body.__name__, inspect.cleandoc(body.__doc__), body)


def action(rule: Rule) -> Callable[[Callable[..., None]], Action]:
    """Make a method a verb at both doors, for those whom `rule` lets."""

    def declare(body: Callable[..., None]) -> Action:
        assert body.__doc__, f"{body.__qualname__}: a verb's docstring is its description at both doors"
        return Action(body.__name__, inspect.cleandoc(body.__doc__), rule, body)

    return declare
