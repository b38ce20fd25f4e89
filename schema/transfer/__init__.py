"""CSV import and export of the whole directory, or of a part of it.

The columns of a file follow from the models. Both commands need access to the database itself, so no access rule
applies.
"""

from __future__ import annotations

from collections.abc import Callable

# Called with the current activity and the completed share, 0 to 1, or None where that is unknown.
ProgressCallback = Callable[[str, float | None], None]
