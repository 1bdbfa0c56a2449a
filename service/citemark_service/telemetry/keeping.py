"""How long a reward waits for the ledger, as a span."""

from citemark_service.ledger.entry import Entry, Keeper
from citemark_service.telemetry.tracer import Tracer


class TracedKeeper:
    """A keeper before a keeper. Entries of many rollouts share one write: each has its own wait."""

    def __init__(self, keeper: Keeper, tracer: Tracer) -> None:
        self._keeper = keeper
        self._tracer = tracer

    async def keep(self, entry: Entry) -> None:
        """As the keeper behind."""
        with self._tracer.span("ledger"):
            await self._keeper.keep(entry)
