"""Names: snake_case in models, camelCase for fields and PascalCase for types in GraphQL."""

from __future__ import annotations

import re


def camel_case(name: str) -> str:
    """`first_name` → `firstName`."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def snake_case(name: str) -> str:
    """`firstName` → `first_name`."""
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def pascal_case(name: str) -> str:
    """`first_name` or `firstName` → `FirstName`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
