"""Names in other cases and numbers: `member_role`, `memberRole` and `MemberRole`; `entry` and `entries`."""

from __future__ import annotations

import re


def camel_case(name: str) -> str:
    """Convert a name from snake_case."""
    return name[:1] + pascal_case(name)[1:]


def pascal_case(name: str) -> str:
    """Convert a name from snake_case or camelCase."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def snake_case(name: str) -> str:
    """Convert a name from camelCase."""
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def plural_of(singular: str) -> str:
    """Form the regular plural of an English noun."""
    return f"{singular[:-1]}ies" if re.search("[^aeiou]y$", singular) else f"{singular}s"
