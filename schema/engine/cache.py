"""What is kept to be used again, bounded by number and by bytes.

Whoever keeps something says how many bytes it takes, by estimate. What has been used since the last look survives the
next one (second chance), which costs a request one attribute; a strict order of use would cost it a second look-up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    __slots__ = ("size", "used", "value")

    def __init__(self, value: Value, size: int) -> None:
        self.value = value
        self.size = size
        self.used = False


class Cache(Generic[Key, Value]):
    """Values by their keys, and how often there was one: what has not been used for longest is forgotten first."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.bytes = self.hits = self.misses = self.evictions = 0
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> list[tuple[Key, Value]]:
        """All that is kept, the oldest first."""
        return [(key, entry.value) for key, entry in self._entries.items()]

    def get(self, key: Key) -> Value | None:
        """What is kept under the key, or none."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        entry.used = True
        self.hits += 1
        return entry.value

    def probe(self, key: Key) -> Value | None:
        """The same, for whoever looks again later if there is none: only then it counts as a miss."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = True
        self.hits += 1
        return entry.value

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value that takes `size` bytes; where there is no room, others go."""
        self._drop(key)
        self._entries[key] = _Entry(value, size)
        self.bytes += size
        self._make_room()

    def resize(self, key: Key, size: int) -> None:
        """Note that what is kept under the key takes so many bytes now."""
        if entry := self._entries.get(key):
            self.bytes += size - entry.size
            entry.size = size
            self._make_room()

    def _drop(self, key: Key) -> None:
        if entry := self._entries.pop(key, None):
            self.bytes -= entry.size

    def _make_room(self) -> None:
        """Forget the oldest until there is room; what has been used goes behind the others, once."""
        while len(self._entries) > 1 and (len(self._entries) > self.max_entries or self.bytes > self.max_bytes):
            key, entry = next(iter(self._entries.items()))
            if entry.used:
                entry.used = False
                self._entries.move_to_end(key)
            else:
                self._drop(key)
                self.evictions += 1
