"""The judge that never judges twice: it asks another one only for what nobody knows yet.

Verdicts are kept one by one, so that a task some of whose verdicts are known becomes a smaller
task. What is being judged for another caller is awaited. Failures are never kept: they reach
all who wait for the same task, while a caller whose task only overlaps the failed one asks for
itself, because a neighbour's rollout must not fail this one.

Whoever starts a judgement is billed for it; who joins it, or finds its verdicts kept, sees no
calls. Each caller waits until its own deadline. The judgement itself has the service's, counted
from its start, so that one caller's short deadline does not fail another.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.errors import DeadlineExceeded, JudgeError, JudgeStopped
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    Meter,
    Words,
)
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.cache import VerdictCache, place, unplace
from citemark_service.verdicts.keys import Item, Keys, Verdict

_log = logging.getLogger("citemark.verdicts")

Landed = tuple[dict[bytes, Verdict], dict[bytes, Verdict]]
"""Placed verdicts by key: those that the store had, and those that were judged."""


@dataclass(slots=True, eq=False)
class Inquiry:
    """One task of one caller, and the verdicts on it as they come in."""

    task: CriteriaTask | CitationTask
    items: tuple[Item, ...]
    meter: Meter
    deadline: float | None
    found: dict[bytes, Verdict] = field(default_factory=dict)
    """Placed verdicts by key."""
    kept: int = 0
    """How many of them memory or store had."""
    joined: int = 0
    """How many of them were judged for another caller."""

    @property
    def asked(self) -> list[bytes]:
        return [item.key for item in self.items]

    def take(self, flight: "Flight", keys: Sequence[bytes]) -> None:
        stored, judged = flight.task.result()
        for key in keys:
            self.found[key] = stored[key] if key in stored else judged[key]
            self.kept += key in stored
            self.joined += flight.inquiry is not self and key not in stored

    def fails_by(self, flight: "Flight", error: BaseException) -> bool:
        """Whether a flight's failure is this inquiry's own: where both ask for the same.

        A deadline is not: the flight began earlier, and asking again may end before this one's.
        """
        if flight.inquiry is self or not isinstance(error, JudgeError):
            return True
        return flight.inquiry.asked == self.asked and not isinstance(error, DeadlineExceeded)


class Flight:
    """One judgement under way, or over, and the inquiry that started it.

    Clients post the same rollout again after their own time-outs, and the first request is
    cancelled when its client is gone. So a flight belongs to nobody: it lives while someone
    waits for it and for `linger_s` after, so that the second request finds it under way.
    """

    def __init__(
        self, work: Coroutine[Any, Any, Landed], inquiry: Inquiry, *, linger_s: float
    ) -> None:
        self.inquiry = inquiry
        self.task = asyncio.get_running_loop().create_task(work)
        self._linger_s = linger_s
        self._waiting = 0
        self._cancellation: asyncio.TimerHandle | None = None

    def join(self) -> None:
        """Count one more who waits, until it leaves."""
        self._waiting += 1
        if self._cancellation is not None:
            self._cancellation.cancel()

    def leave(self) -> None:
        """Count one less; after the last it is cancelled, unless someone joins in time."""
        self._waiting -= 1
        if not self._waiting and not self.task.done():
            loop = asyncio.get_running_loop()
            self._cancellation = loop.call_later(self._linger_s, self.task.cancel)

    async def wait(self, deadline: float | None) -> BaseException | None:
        """Wait for the end, until `deadline` (`time.monotonic()`) at most; return what failed.

        Raises:
            DeadlineExceeded: the deadline came first, whatever becomes of the flight.
        """
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        await asyncio.wait([self.task], timeout=timeout)  # cancelled, it leaves the task alone
        if not self.task.done():
            raise DeadlineExceeded("no verdict before the deadline")
        if self.task.cancelled():
            return JudgeStopped("the judge was closed")
        return self.task.exception()

    def end(self) -> None:
        """Release the timer, and log a defect that nobody waits for; a failed judge is no news."""
        if self._cancellation is not None:
            self._cancellation.cancel()
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None and not self._waiting and not isinstance(error, JudgeError):
            _log.error("a judgement that nobody waited for broke", exc_info=error)


class CachingJudge(Judge):
    """A `Judge` before a `Judge`; within one event loop. Closes both it and the cache."""

    def __init__(
        self, judge: Judge, cache: VerdictCache, *, settings: Settings, metrics: Metrics
    ) -> None:
        self.identity = judge.identity
        self._judge = judge
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._keys = Keys(judge.identity)
        self._flights: set[Flight] = set()
        self._judging: dict[bytes, Flight] = {}
        self._closed = False

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        inquiry = Inquiry(task, self._keys.criteria(task), meter, deadline)
        return cast("tuple[CriterionVerdict, ...]", await self._await_verdicts(inquiry))

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        inquiry = Inquiry(task, self._keys.citations(task), meter, deadline)
        verdicts = await self._await_verdicts(inquiry)
        cut = len(task.claims)
        return CitationVerdicts(
            claims=cast("tuple[ClaimVerdict, ...]", verdicts[:cut]),
            sentences=cast("tuple[SentenceVerdict, ...]", verdicts[cut:]),
        )

    def prompts(self, criteria: CriteriaTask, citations: CitationTask | None) -> tuple[Words, ...]:
        return self._judge.prompts(criteria, citations)

    async def check(self) -> None:
        await self._judge.check()

    async def aclose(self) -> None:
        """Cancel what is being judged, write what waits, close the store and the judge."""
        self._closed = True
        tasks = [flight.task for flight in self._flights]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cache.aclose()
        await self._judge.aclose()

    async def _await_verdicts(self, inquiry: Inquiry) -> tuple[Verdict, ...]:
        """A verdict on each item, in order: kept, judged for another caller, or judged now."""
        for item in inquiry.items:
            if item.key not in inquiry.found and (verdict := self._cache.recall(item)) is not None:
                inquiry.found[item.key] = verdict
                inquiry.kept += 1
        missing = dict.fromkeys(key for key in inquiry.asked if key not in inquiry.found)
        seats = self._take_seats(inquiry, missing)
        try:
            for flight, keys in seats:  # grows by those that replace a failed flight
                error = await flight.wait(inquiry.deadline)
                if error is None:
                    inquiry.take(flight, keys)
                elif inquiry.fails_by(flight, error):
                    raise error
                else:
                    seats += self._take_seats(inquiry, keys)
        finally:
            for flight, _ in seats:
                flight.leave()
        judged = len(inquiry.found) - inquiry.kept - inquiry.joined
        inquiry.meter.count_verdicts(kept=inquiry.kept, fresh=inquiry.joined + judged)
        self._metrics.verdicts["judge"].inc(judged)
        self._metrics.verdicts["cache"].inc(inquiry.kept)
        self._metrics.verdicts["joined"].inc(inquiry.joined)
        return tuple(unplace(item, inquiry.found[item.key]) for item in inquiry.items)

    def _take_seats(
        self, inquiry: Inquiry, keys: Iterable[bytes]
    ) -> list[tuple[Flight, list[bytes]]]:
        """Join the flights that judge these keys, and launch one for those that none judges.

        Returns each with the keys for which to wait there; the launched one comes first, since
        its failure ends the wait.

        Raises:
            JudgeStopped: one would have to be launched, and the judge is closed.
        """
        seats: dict[Flight, list[bytes]] = {}
        unjudged: list[bytes] = []
        priority = inquiry.task.origin.priority
        for key in keys:
            flight = self._judging.get(key)
            # A less urgent flight may wait behind calls that this one would overtake.
            later = flight is not None and flight.inquiry.task.origin.priority > priority
            if flight is None or later or flight.task.cancelling():
                unjudged.append(key)
            else:
                seats.setdefault(flight, []).append(key)
        if unjudged and self._closed:
            raise JudgeStopped("the judge is closed")
        if unjudged:
            work = self._judge_missing(inquiry, unjudged)
            launched = Flight(work, inquiry, linger_s=self._settings.judge_linger_s)
            launched.task.add_done_callback(lambda _: self._end(launched, unjudged))
            self._flights.add(launched)
            self._judging.update(dict.fromkeys(unjudged, launched))
            seats = {launched: unjudged, **seats}
        for flight in seats:
            flight.join()
        return [*seats.items()]

    def _end(self, flight: Flight, keys: Iterable[bytes]) -> None:
        self._flights.discard(flight)
        for key in keys:
            if self._judging.get(key) is flight:  # a more urgent one may have taken its place
                del self._judging[key]
        flight.end()

    async def _judge_missing(self, inquiry: Inquiry, keys: Sequence[bytes]) -> Landed:
        """The store's verdicts on `keys`, and the judge's on the rest."""
        task, items, meter = inquiry.task, inquiry.items, inquiry.meter
        limit = inquiry.deadline
        if limit is not None:
            limit = max(limit, time.monotonic() + self._settings.judge_deadline_s)
        first = {item.key: at for at, item in reversed([*enumerate(items)])}
        stored = await self._cache.load([items[first[key]] for key in keys])
        unknown = [first[key] for key in keys if key not in stored]
        if not unknown:
            return stored, {}
        verdicts: Sequence[Verdict]
        if isinstance(task, CriteriaTask):
            part = replace(task, criteria=tuple(task.criteria[at] for at in unknown))
            verdicts = await self._judge.judge_criteria(part, meter=meter, deadline=limit)
        else:
            cut = len(task.claims)
            claims = tuple(task.claims[at] for at in unknown if at < cut)
            sentences = tuple(task.sentences[at - cut] for at in unknown if at >= cut)
            cited = replace(task, claims=claims, sentences=sentences)
            both = await self._judge.judge_citations(cited, meter=meter, deadline=limit)
            verdicts = (*both.claims, *both.sentences)
        asked = [items[at] for at in unknown]
        judged = {item.key: place(item, v) for item, v in zip(asked, verdicts, strict=True)}
        self._cache.keep(judged)
        return stored, judged
