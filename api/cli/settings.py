"""`settings`: list the settings."""

from __future__ import annotations

from api.cli.terminal import fail, print_table
from api.settings import InvalidSetting, list_settings, read_settings


def settings() -> None:
    """List all settings with their values and meanings. Exit 2 if one is invalid."""
    print_table(("name", "value", "meaning"), list_settings())
    try:
        read_settings()
    except InvalidSetting as error:
        fail(str(error), 2)
