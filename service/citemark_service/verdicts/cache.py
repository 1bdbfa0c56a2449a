"""Verdicts by key: this process's memory first, then the store, if there is one."""

from collections.abc import Iterable

from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.batches import Batches
from citemark_service.verdicts.codec import Unusable, decode, encode
from citemark_service.verdicts.guard import Guard
from citemark_service.verdicts.keys import Item, Verdict
from citemark_service.verdicts.memory import Memory
from citemark_service.verdicts.store import Store


class VerdictCache:
    """Never raises for what is kept: an unusable value is a miss, and counted."""

    def __init__(self, *, memory: Memory, store: Store | None, metrics: Metrics) -> None:
        self._memory = memory
        self._metrics = metrics
        guard = Guard(store, metrics=metrics) if store is not None else None
        self._store = Batches(guard, metrics=metrics) if guard is not None else None

    def recall(self, item: Item) -> Verdict | None:
        """The verdict in memory; takes microseconds."""
        value = self._memory.get(item.key)
        return None if value is None else self._decoded(item, value)

    async def load(self, items: Iterable[Item]) -> dict[bytes, Verdict]:
        """Verdicts that the store has, by key; they are in memory from now on."""
        if self._store is None:
            return {}
        by_key = {item.key: item for item in items}
        found: dict[bytes, Verdict] = {}
        for key, value in (await self._store.read(tuple(by_key))).items():
            verdict = self._decoded(by_key[key], value)
            if verdict is not None:
                found[key] = verdict
                self._memory.put(key, value)
        return found

    def keep(self, judged: Iterable[tuple[Item, Verdict]]) -> None:
        """Keep verdicts, in memory at once and in the store soon."""
        entries = {item.key: encode(item, verdict) for item, verdict in judged}
        for key, value in entries.items():
            self._memory.put(key, value)
        if self._store is not None:
            self._store.write(entries)
        self._metrics.cache_size(len(self._memory))

    async def aclose(self) -> None:
        """Finish what is being written and close the store."""
        if self._store is not None:
            await self._store.aclose()

    def _decoded(self, item: Item, value: bytes) -> Verdict | None:
        try:
            return decode(item, value)
        except Unusable:
            self._metrics.cache_error("value")
            self._memory.drop(item.key)
            return None
