"""The judge that asks another one only for verdicts that are neither cached nor in flight.

Verdicts are cached one by one: a task with some known verdicts becomes a smaller task. Failures
are not cached. They reach all callers that wait for the same task; a caller whose task only
overlaps the failed one asks for itself, because another rollout must not fail this one.

A judgement is on the meter of the caller that started it. Each caller waits until its own
deadline. The judgement itself has the service's, from its start, so that a caller's short
deadline does not fail the others.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, Field, ValidationError

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.errors import DeadlineExceeded, JudgeError, JudgeStopped, SettingsError
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
from citemark_service.verdicts.cache import Item, Keys, Memory, Verdict, VerdictCache, rename
from citemark_service.verdicts.store import BatchedStore, SqliteStore, VerdictStore

_log = logging.getLogger("citemark.verdicts")

# Placed verdicts by key: those from the store, and those that were judged.
Landed = tuple[dict[bytes, Verdict], dict[bytes, Verdict]]


@dataclass(slots=True, eq=False)
class Inquiry:
    task: CriteriaTask | CitationTask
    items: tuple[Item, ...]
    meter: Meter
    deadline: float | None
    found: dict[bytes, Verdict] = field(default_factory=dict)  # placed, by key
    kept: int = 0  # how many of `found` memory or store had
    joined: int = 0  # how many of `found` were judged for another caller

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
        """Whether a flight's failure is also this inquiry's: where both ask for the same."""
        if flight.inquiry is self or not isinstance(error, JudgeError):
            return True
        if isinstance(error, DeadlineExceeded):  # a new flight may end before a later deadline
            return self.deadline is not None and self.deadline <= time.monotonic()
        return flight.inquiry.asked == self.asked


class Flight:
    """One judgement in flight, or over, and the inquiry that started it.

    It runs while someone waits for it and for `linger_s` after: a client that posts a rollout
    again after its own time-out, which cancels the first request, finds the judgement running.
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
        self._waiting += 1
        if self._cancellation is not None:
            self._cancellation.cancel()

    def leave(self) -> None:
        """Remove a waiter; without any the task is cancelled after `linger_s`."""
        self._waiting -= 1
        if not self._waiting and not self.task.done():
            loop = asyncio.get_running_loop()
            self._cancellation = loop.call_later(self._linger_s, self.task.cancel)

    async def wait(self, deadline: float | None) -> BaseException | None:
        """Wait for the end and return its error, or None.

        Raises `DeadlineExceeded` at `deadline` (`time.monotonic()`), while the flight goes on.
        """
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        await asyncio.wait([self.task], timeout=timeout)  # if cancelled, the task goes on
        if not self.task.done():
            raise DeadlineExceeded("no verdict before the deadline")
        if self.task.cancelled():
            return JudgeStopped("the judge was closed")
        return self.task.exception()

    def end(self) -> None:
        """Stop the timer, and log an error other than `JudgeError` that no waiter gets."""
        if self._cancellation is not None:
            self._cancellation.cancel()
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None and not self._waiting and not isinstance(error, JudgeError):
            _log.error("a judgement that nobody waited for broke", exc_info=error)


class CachingJudge(Judge):
    """A `Judge` with a cache before another; within one event loop. Owns and closes both."""

    def __init__(
        self, judge: Judge, cache: VerdictCache, *, settings: Settings, metrics: Metrics
    ) -> None:
        self.identity = judge.identity
        self._judge = judge
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._keys = Keys(judge.identity)
        self._flights: set[Flight] = set()  # all that run, replaced ones included
        self._judging: dict[bytes, Flight] = {}  # the flight to join for each key
        self._closed = False

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        task = self._judge.cut(task)
        inquiry = Inquiry(task, self._keys.criteria(task), meter, deadline)
        return cast("tuple[CriterionVerdict, ...]", await self._await_verdicts(inquiry))

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        task = self._judge.cut(task)
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
        self._closed = True
        tasks = [flight.task for flight in self._flights]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cache.aclose()
        await self._judge.aclose()

    async def _await_verdicts(self, inquiry: Inquiry) -> tuple[Verdict, ...]:
        """A verdict on each item, in order: cached, judged for another caller, or judged now."""
        for item in inquiry.items:
            if item.key not in inquiry.found and (verdict := self._cache.recall(item)) is not None:
                inquiry.found[item.key] = verdict
                inquiry.kept += 1
        missing = dict.fromkeys(key for key in inquiry.asked if key not in inquiry.found)
        seats = self._take_seats(inquiry, missing)
        try:
            for flight, keys in seats:  # grows by the flights that replace a failed one
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
        return tuple(rename(inquiry.found[i.key], i.places, i.ids) for i in inquiry.items)

    def _take_seats(
        self, inquiry: Inquiry, keys: Iterable[bytes]
    ) -> list[tuple[Flight, list[bytes]]]:
        """Join the flights that judge these keys, and launch one for the keys without any.

        Returns each flight with its keys. Raises `JudgeStopped` instead of a launch when closed.
        """
        seats: dict[Flight, list[bytes]] = {}
        unjudged: list[bytes] = []
        priority = inquiry.task.origin.priority
        for key in keys:
            flight = self._judging.get(key)
            # A flight of lower priority may wait behind calls that this inquiry would overtake.
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
            seats = {launched: unjudged, **seats}  # first, since its failure ends the wait
        for flight in seats:
            flight.join()
        return [*seats.items()]

    def _end(self, flight: Flight, keys: Iterable[bytes]) -> None:
        self._flights.discard(flight)
        for key in keys:
            if self._judging.get(key) is flight:  # a more urgent flight may have replaced it
                del self._judging[key]
        flight.end()

    async def _judge_missing(self, inquiry: Inquiry, keys: Sequence[bytes]) -> Landed:
        task, items, meter = inquiry.task, inquiry.items, inquiry.meter
        limit = inquiry.deadline
        # At least the service's deadline, for the callers that join later.
        if limit is not None:
            limit = max(limit, time.monotonic() + self._settings.judge_deadline_s)
        # The first item of each key, as equal items are judged once.
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
        pairs = zip(asked, verdicts, strict=True)
        judged = {item.key: rename(verdict, item.ids, item.places) for item, verdict in pairs}
        # The key says what was to be shown; the judge's context had room for less.
        self._cache.keep({key: each for key, each in judged.items() if not each.is_cut})
        return stored, judged


B = TypeVar("B", bound=BaseModel)

Count = Annotated[int, Field(ge=1)]

_MIB: Final = 1024 * 1024


class _MemoryBounds(BaseModel, extra="forbid", frozen=True):
    entries: Count = 100_000
    mib: Count = 64


class _FileBounds(_MemoryBounds):
    entries: Count = 1_000_000
    mib: Count = 512


class _ServerBounds(BaseModel, extra="forbid", frozen=True):
    ttl_s: Count = 7 * 24 * 3600
    namespace: str = Field("citemark", min_length=1)


def cache_verdicts(judge: Judge, settings: Settings, metrics: Metrics) -> Judge:
    """Put the cache that `verdict_cache` names before `judge`; return an instant judge as it is.

    Raises `SettingsError` for another form of `verdict_cache`, or a package not installed.
    """
    if judge.instant:
        return judge
    parts = urlsplit(settings.verdict_cache)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    bounds, store = _MemoryBounds(), None
    match parts.scheme:
        case "memory":
            bounds = _parse_bounds(_MemoryBounds, query)
        case "sqlite":
            store = BatchedStore(_sqlite_store(parts, query), metrics=metrics)
        case "redis" | "rediss":
            store = BatchedStore(_redis_store(parts, query), metrics=metrics)
        case _ if settings.verdict_cache != "off":
            raise SettingsError("verdict_cache: off, memory://, sqlite:///PATH or redis://HOST")
    entries = 0 if settings.verdict_cache == "off" else bounds.entries
    memory = Memory(entries=entries, max_bytes=bounds.mib * _MIB)
    cache = VerdictCache(memory, store, metrics=metrics)
    return CachingJudge(judge, cache, settings=settings, metrics=metrics)


def _sqlite_store(url: SplitResult, query: dict[str, str]) -> VerdictStore:
    bounds = _parse_bounds(_FileBounds, query)
    path = Path(unquote(url.path.removeprefix("/")))
    if url.netloc or not path.name:
        raise SettingsError("verdict_cache: sqlite:///relative/path or sqlite:////absolute/path")
    if not path.parent.is_dir():
        raise SettingsError(f"verdict_cache: there is no folder {path.parent}")
    return SqliteStore(path, entries=bounds.entries, max_bytes=bounds.mib * _MIB)


def _redis_store(url: SplitResult, query: dict[str, str]) -> VerdictStore:
    try:
        from citemark_service.verdicts.redis import RedisStore  # noqa: PLC0415  needs an extra
    except ImportError as error:
        install = "pip install 'citemark[service,redis]'"
        raise SettingsError(f"verdict_cache: Redis needs {install}") from error
    own = {name: query.pop(name) for name in _ServerBounds.model_fields if name in query}
    bounds = _parse_bounds(_ServerBounds, own).model_dump()
    rest = urlunsplit(url._replace(query=urlencode(query)))  # other parameters are the client's
    return RedisStore(rest, **bounds, timeout_s=0.5)


def _parse_bounds(kind: type[B], query: dict[str, str]) -> B:
    try:
        return kind.model_validate(query)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise SettingsError(f"verdict_cache: {first['loc'][0]}: {first['msg']}") from error
