"""What a store of verdicts that outlives the process must do."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from citemark_service.errors import CitemarkError


class StoreError(CitemarkError):
    """The store cannot be used now. It never leaves the cache: there it is a miss."""


class Store(Protocol):
    """Bytes by key, bounded by the store itself. One call of each kind runs at a time.

    Every method raises `StoreError`, and nothing else, for whatever goes wrong outside.
    """

    @property
    def name(self) -> str:
        """What a log may call it: never a password."""
        ...

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The values of those keys that have one."""
        ...

    async def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep these; may put others out."""
        ...

    async def aclose(self) -> None:
        """Release the file or the connections. Raises nothing."""
        ...
