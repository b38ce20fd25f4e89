"""A cache bounded by the number of its entries and by their estimated bytes.

An entry that was used since it was last considered for eviction gets a second chance. That costs a lookup one
attribute; a strict order of use (LRU) would cost it a second dictionary operation.
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
    """Values by their keys; counts hits, misses and evictions."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.bytes = self.hits = self.misses = self.evictions = 0
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> list[tuple[Key, Value]]:
        """Return all entries, the oldest first."""
        return [(key, entry.value) for key, entry in self._entries.items()]

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        entry.used = True
        self.hits += 1
        return entry.value

    def probe(self, key: Key) -> Value | None:
        """Like `get`, for callers that look again later: it counts a hit, but no miss."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = True
        self.hits += 1
        return entry.value

    def put(self, key: Key, value: Value, size: int) -> None:
        """Store a value of `size` bytes, and evict others if there is no space."""
        self._drop(key)
        self._entries[key] = _Entry(value, size)
        self.bytes += size
        self._evict()

    def resize(self, key: Key, size: int) -> None:
        """Correct the size of an entry, if it is still there."""
        if entry := self._entries.get(key):
            self.bytes += size - entry.size
            entry.size = size
            self._evict()

    def _drop(self, key: Key) -> None:
        if entry := self._entries.pop(key, None):
            self.bytes -= entry.size

    def _evict(self) -> None:
        """Evict the oldest entries until the rest fit; one that was used moves to the end, once."""
        while len(self._entries) > 1 and (len(self._entries) > self.max_entries or self.bytes > self.max_bytes):
            key, entry = next(iter(self._entries.items()))
            if entry.used:
                entry.used = False
                self._entries.move_to_end(key)
            else:
                self._drop(key)
                self.evictions += 1
