"""The verdicts of this process, bounded, the least recently used out first."""

from typing import Final

from cachetools import LRUCache

from citemark_service.verdicts.keys import KEY_BYTES

ENTRY_BYTES: Final = 320
"""What one entry takes besides key and value, as measured: two headers, three tables."""


class Memory:
    """Values by key. `entries` 0 keeps nothing."""

    def __init__(self, *, entries: int, max_bytes: int) -> None:
        self._entries = entries
        self._values: LRUCache[bytes, bytes] = LRUCache(max_bytes, _size)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def held_bytes(self) -> int:
        """About how much memory the entries take."""
        return int(self._values.currsize)

    def get(self, key: bytes) -> bytes | None:
        """The value, which counts as used now."""
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that is larger than all the room there is, is not kept."""
        if self._entries and _size(value) <= self._values.maxsize:
            self._values[key] = value
        while len(self._values) > self._entries:
            self._values.popitem()

    def drop(self, key: bytes) -> None:
        """Forget a value."""
        self._values.pop(key, None)


def _size(value: bytes) -> int:
    return len(value) + KEY_BYTES + ENTRY_BYTES
