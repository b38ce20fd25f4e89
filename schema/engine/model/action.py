"""`@action`: an operation of a model's own. `@shown_once`: a secret that only the response to a creation shows.

    @action(role("admin"))
    def promote(self, level: int) -> None:
        \"\"\"Promote a person.\"\"\"
        self.level = level

The method receives a draft instead of a record: the attributes that it assigns are the fields that change, in one
statement and under `rule`. Its further parameters are the body of the REST call and the input of the GraphQL mutation.

    @shown_once
    def secret(self) -> str:
        \"\"\"The secret. It is shown only once.\"\"\"
        secret = token_urlsafe()
        self.digest = digest_of(secret)
        return secret

The draft has the new record's `id`; the attributes that the method assigns are stored, the value that it returns is
not.
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
    """A model's own operation: its name, who may call it, and what it changes."""

    name: str
    description: str
    rule: Rule
    body: Callable[..., None]

    @property
    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """Each parameter's type and default (`...` for none)."""
        _, *parameters = inspect.signature(self.body).parameters.values()
        return {
            parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
            for parameter in parameters
        }

    def changes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that it sets, with their new values."""
        draft = SimpleNamespace()
        self.body(draft, **arguments)
        return vars(draft)


@dataclass(frozen=True, slots=True)
class ShownOnce:
    """A value that only the response to a creation shows."""

    name: str
    description: str
    body: Callable[[Any], str]

    def generate(self, id: str) -> tuple[str, dict[str, Any]]:
        """Return the value for the new record with this id, and the fields that are stored with it."""
        draft = SimpleNamespace(id=id)
        value = self.body(draft)
        return value, {name: field for name, field in vars(draft).items() if name != "id"}


def action(rule: Rule) -> Callable[[Callable[..., None]], Action]:
    """Make a method an operation of both APIs, for the actors whom `rule` allows."""

    def declare(body: Callable[..., None]) -> Action:
        return Action(body.__name__, _description(body), rule, body)

    return declare


def shown_once(body: Callable[[Any], str]) -> ShownOnce:
    """Make a method's value one that only the response to a creation shows, under the method's name."""
    return ShownOnce(body.__name__, _description(body), body)


def _description(body: Callable[..., Any]) -> str:
    assert body.__doc__, f"{body.__qualname__}: must have a docstring, the description in both APIs"
    return inspect.cleandoc(body.__doc__)
