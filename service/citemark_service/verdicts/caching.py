"""The judge that never judges twice: it asks another one only for what nobody knows yet.

Verdicts are kept one by one, so that a task some of whose verdicts are known becomes a smaller
task. What is being judged for another caller is awaited. Failures are never kept: they reach
all who wait for the same task, while a caller whose task only overlaps the failed one asks for
itself, because a neighbour's rollout must not fail this one.

Whoever starts a judgement is billed for it; who joins it, or finds its verdicts kept, sees no
calls. Each caller waits until its own deadline. The judgement itself has the service's, counted
from its start, so that one caller's short deadline does not fail another.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.errors import DeadlineExceeded, JudgeError
from citemark_service.judges.protocol import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Worded,
    Words,
)
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.cache import VerdictCache
from citemark_service.verdicts.codec import named, placed
from citemark_service.verdicts.flights import Flight, Flights, Landed
from citemark_service.verdicts.keys import Item, Keys, Verdict

Ask = Callable[[Sequence[int], float | None], Awaitable[Sequence[Verdict]]]
"""Judges the task's items at these positions before a deadline."""


@dataclass(frozen=True, slots=True)
class _Inquiry:
    """One task of one caller, and the verdicts on it as they come in."""

    items: tuple[Item, ...]
    ask: Ask
    priority: int
    meter: Meter
    deadline: float | None
    found: dict[bytes, Verdict] = field(default_factory=dict)
    """Placed verdicts by key."""
    kept: set[bytes] = field(default_factory=set)
    """Keys that memory or store had."""
    joined: set[bytes] = field(default_factory=set)
    """Keys that were being judged for another caller."""

    @property
    def asked(self) -> tuple[bytes, ...]:
        return tuple(item.key for item in self.items)

    def missing(self) -> dict[bytes, int]:
        """Keys without a verdict, each with its first position."""
        wanted: dict[bytes, int] = {}
        for at, item in enumerate(self.items):
            if item.key not in self.found:
                wanted.setdefault(item.key, at)
        return wanted

    def take(self, landed: Landed, keys: Iterable[bytes], *, own: bool) -> None:
        for key in keys:
            self.found[key] = landed.verdicts[key]
            if key in landed.kept:
                self.kept.add(key)
            elif not own:
                self.joined.add(key)

    def answer(self) -> list[Verdict]:
        return [named(item, self.found[item.key]) for item in self.items]


@dataclass(frozen=True, slots=True)
class _Seat:
    """An inquiry's place on a flight: the keys for which it waits there."""

    flight: Flight
    keys: Sequence[bytes]
    own: bool


class CachingJudge:
    """A `Judge` before a `Judge`; within one event loop. Closes both it and the cache."""

    def __init__(
        self,
        judge: Judge,
        *,
        cache: VerdictCache,
        metrics: Metrics,
        deadline_s: float,
        linger_s: float,
    ) -> None:
        """Wrap `judge`.

        Args:
            deadline_s: for one judgement, whoever waits for it.
            linger_s: how long a judgement goes on that nobody waits for any more.
        """
        self._judge = judge
        self._cache = cache
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._flights = Flights(linger_s=linger_s)
        self._keys = Keys(judge.identity)

    @property
    def identity(self) -> JudgeIdentity:
        """The wrapped judge's."""
        return self._judge.identity

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """See `Judge.judge_criteria`; asks the wrapped judge for unknown criteria only."""

        async def ask(positions: Sequence[int], limit: float | None) -> Sequence[Verdict]:
            part = tuple(task.criteria[at] for at in positions)
            return await self._judge.judge_criteria(
                replace(task, criteria=part), meter=meter, deadline=limit
            )

        items = self._keys.criteria(task)
        inquiry = _Inquiry(items, ask, task.origin.priority, meter, deadline)
        return cast("tuple[CriterionVerdict, ...]", tuple(await self._answered(inquiry)))

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        """See `Judge.judge_citations`; asks for unknown claims and sentences only."""
        cut = len(task.claims)

        async def ask(positions: Sequence[int], limit: float | None) -> Sequence[Verdict]:
            part = replace(
                task,
                claims=tuple(task.claims[at] for at in positions if at < cut),
                sentences=tuple(task.sentences[at - cut] for at in positions if at >= cut),
            )
            verdicts = await self._judge.judge_citations(part, meter=meter, deadline=limit)
            return (*verdicts.claims, *verdicts.sentences)

        items = self._keys.citations(task)
        inquiry = _Inquiry(items, ask, task.origin.priority, meter, deadline)
        answer = await self._answered(inquiry)
        return CitationVerdicts(
            claims=cast("tuple[ClaimVerdict, ...]", tuple(answer[:cut])),
            sentences=cast("tuple[SentenceVerdict, ...]", tuple(answer[cut:])),
        )

    def prompts(self, criteria: CriteriaTask, citations: CitationTask | None) -> tuple[Words, ...]:
        """The wrapped judge's, as if nothing were kept."""
        judge = self._judge
        return judge.prompts(criteria, citations) if isinstance(judge, Worded) else ()

    async def check(self) -> None:
        """See `Judge.check`; asks the wrapped judge, whatever is kept."""
        await self._judge.check()

    async def aclose(self) -> None:
        """Cancel what is being judged, write what waits, close the store and the judge."""
        await self._flights.aclose()
        await self._cache.aclose()
        await self._judge.aclose()

    async def _answered(self, inquiry: _Inquiry) -> list[Verdict]:
        for item in inquiry.items:
            verdict = self._cache.recall(item)
            if verdict is not None:
                inquiry.found[item.key] = verdict
                inquiry.kept.add(item.key)
        missing = inquiry.missing()
        if missing:
            await self._collect(inquiry, self._seats(inquiry, missing))
        self._report(inquiry)
        return inquiry.answer()

    async def _collect(self, inquiry: _Inquiry, seats: Sequence[_Seat]) -> None:
        for seat in seats:
            seat.flight.join()
        try:
            for seat in seats:  # one's own first, whose failure ends the wait
                await self._take(inquiry, seat)
        finally:
            for seat in seats:
                seat.flight.leave()

    async def _take(self, inquiry: _Inquiry, seat: _Seat) -> None:
        try:
            landed = await seat.flight.landed(inquiry.deadline)
        except JudgeError as error:
            if seat.own or _is_final(error, inquiry, seat.flight):
                raise
        else:
            inquiry.take(landed, seat.keys, own=seat.own)
            return
        wanted = {key: at for key, at in inquiry.missing().items() if key in set(seat.keys)}
        # Another who waited may be asking again already, so that one call serves all of them.
        await self._collect(inquiry, self._seats(inquiry, wanted))

    def _seats(self, inquiry: _Inquiry, missing: Mapping[bytes, int]) -> list[_Seat]:
        joined: dict[Flight, list[bytes]] = {}
        alone: dict[bytes, int] = {}
        for key, at in missing.items():
            flight = self._flights.judging(key, priority=inquiry.priority)
            if flight is None:
                alone[key] = at
            else:
                joined.setdefault(flight, []).append(key)
        own = [self._launched(inquiry, alone)] if alone else []
        return own + [_Seat(flight, keys, own=False) for flight, keys in joined.items()]

    def _launched(self, inquiry: _Inquiry, wanted: Mapping[bytes, int]) -> _Seat:
        flight = self._flights.launch(
            self._judgement(inquiry, tuple(wanted.values())),
            wanted,
            asked=inquiry.asked,
            priority=inquiry.priority,
        )
        return _Seat(flight, tuple(wanted), own=True)

    async def _judgement(self, inquiry: _Inquiry, positions: Sequence[int]) -> Landed:
        """Verdicts on the items at `positions`: the store's, and the judge's on the rest."""
        limit = self._limit(inquiry.deadline)
        found = await self._cache.load([inquiry.items[at] for at in positions])
        kept = frozenset(found)
        rest = [at for at in positions if inquiry.items[at].key not in kept]
        if rest:
            asked = [inquiry.items[at] for at in rest]
            verdicts = await inquiry.ask(rest, limit)
            fresh = [(item, placed(item, v)) for item, v in zip(asked, verdicts, strict=True)]
            self._cache.keep(fresh)
            found.update((item.key, verdict) for item, verdict in fresh)
        return Landed(found, kept)

    def _limit(self, deadline: float | None) -> float | None:
        return None if deadline is None else max(deadline, time.monotonic() + self._deadline_s)

    def _report(self, inquiry: _Inquiry) -> None:
        kept, joined = len(inquiry.kept), len(inquiry.joined)
        judged = len(inquiry.found) - kept - joined
        inquiry.meter.tell(kept=kept, fresh=joined + judged)
        self._metrics.verdicts(judge=judged, cache=kept, joined=joined)


def _is_final(error: JudgeError, inquiry: _Inquiry, flight: Flight) -> bool:
    """Whether the failure of another caller's flight is this inquiry's own.

    It is where both ask for the same. A deadline is not: the flight began earlier, and where
    this caller's own has passed, asking again says so.
    """
    return flight.asked == inquiry.asked and not isinstance(error, DeadlineExceeded)
