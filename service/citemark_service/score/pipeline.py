"""One rollout from text to reward: parse, refuse or judge, score. Owns fan-out and deadline.

The order is the argument: refusals come before any judge call and before any flip, so an
empty answer cannot collect the credit of defects it avoids; the arithmetic comes last and only
ever sees complete verdicts.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from opentelemetry.trace import NoOpTracer, Tracer

from citemark_rubrics import RubricLibrary, RubricSet, UnknownSet
from citemark_schemas import (
    CriterionVerdict,
    Failure,
    JudgeUsage,
    Knobs,
    Rollout,
    ScoreResult,
    Versions,
)
from citemark_service.errors import DeadlineExceeded, JudgeError, SettingsError
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Origin,
    Words,
)
from citemark_service.ledger.entry import Entry, Keeper
from citemark_service.parsing.sources import read_sources
from citemark_service.score.claims import citation_task, judged_claims
from citemark_service.score.criteria import static_set
from citemark_service.score.fingerprint import rollout_hash
from citemark_service.score.formula import SCORING_VERSION
from citemark_service.score.reading import (
    Reading,
    check_rollout,
    named,
    pinned,
    read_rollout,
    refusal_of,
)
from citemark_service.score.results import Verdicts, failed, refused, scored
from citemark_service.score.span_facts import rollout_facts
from citemark_service.settings import Settings
from citemark_service.telemetry.logs import log_context
from citemark_service.telemetry.metrics import Metrics, Stage
from citemark_service.telemetry.traces import open_span, set_attributes

_GROUPS_KEPT = 64
_READ_INLINE = 100_000
"""Characters; an ordinary rollout of this size is parsed in a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a result records of how it was made."""

    rollout_hash: str
    knobs: Knobs
    model: str
    versions: Versions


@dataclass(frozen=True, slots=True)
class _Errand:
    """One rollout on its way through the judge."""

    reading: Reading
    origin: Origin
    meter: Meter
    deadline: float

    def criteria_task(self) -> CriteriaTask:
        return CriteriaTask(
            question=self.reading.rollout.question,
            sources=self.reading.sources,
            answer=self.reading.answer,
            format=self.reading.format,
            criteria=self.reading.criteria,
            origin=self.origin,
        )

    def citation_task(self, cap: int) -> CitationTask | None:
        return citation_task(
            self.reading.rollout.question,
            self.reading.answer,
            self.reading.sources,
            knobs=self.reading.knobs,
            cap=cap,
            origin=self.origin,
        )


class Pipeline:
    """Scores rollouts with one judge. Safe to call concurrently; keeps no state per rollout."""

    def __init__(
        self,
        *,
        judge: Judge,
        library: RubricLibrary,
        settings: Settings,
        metrics: Metrics,
        ledger: Keeper | None = None,
        tracer: Tracer = NoOpTracer(),
    ) -> None:
        """Raises `SettingsError` where the default static set is not in the library."""
        _refuse_unknown_set(settings, library)
        self._judge = judge
        self._library = library
        self._settings = settings
        self._metrics = metrics
        self._ledger = ledger
        self._tracer = tracer
        self._version = version("citemark")
        # Samples of a group come together, and share what is parsed and hashed of their sources.
        self._sources = lru_cache(maxsize=_GROUPS_KEPT)(read_sources)

    def check(self, rollout: Rollout, request: Knobs) -> None:
        """Refuse what the schema cannot know to be wrong, before anything is judged.

        Raises:
            InvalidRequest: as `reading.check_rollout`; the message names the field.
        """
        check_rollout(rollout, Knobs.resolve(self._settings, request, rollout), self._library)

    def provenance(self, rollout: Rollout, request: Knobs) -> Provenance:
        """What the result of `score` will record of its making, without making it.

        Raises:
            InvalidRequest: `static_rubrics` names no set.
        """
        knobs = Knobs.resolve(self._settings, request, rollout)
        return Provenance(
            rollout_hash=rollout_hash(rollout),
            knobs=knobs,
            model=self._judge.identity.model,
            versions=self._versions(pinned(static_set(self._library, knobs))),
        )

    async def score(
        self,
        rollout: Rollout,
        *,
        request: Knobs,
        position: int,
        deadline: float | None,
        origin: Origin = Origin(),
    ) -> ScoreResult:
        """Score one rollout that has passed `check`. A failed judge is in the result.

        Args:
            request: the request's knobs, weaker than the rollout's own.
            position: index in the request; the id of a rollout that has none.
            deadline: `time.monotonic()` after which judging stops, or None.
            origin: who asks, and how urgently.
        """
        with (
            open_span(self._tracer, "rollout") as span,
            log_context(rollout=named(rollout, position)),
        ):
            with self._timed("parse"):
                reading = await self._read(rollout, request, position)
            meter = Meter()
            result = await self._result(reading, meter, deadline, origin)
            self._metrics.count_rollout(result, answer_characters=len(reading.answer.text))
            entry = _entry(rollout, result, origin, meter.replies, position)
            if span.is_recording():
                set_attributes(span, rollout_facts(entry))
            if self._ledger is not None:
                await self._ledger.keep(entry)
            return result

    @property
    def judged_by(self) -> JudgeIdentity:
        """The judge's model and prompts."""
        return self._judge.identity

    def static_set(self, pin: str) -> RubricSet | None:
        """The static set that results record as `pin`; None where it is not the one loaded."""
        return next((each for each in self._library.sets() if pinned(each) == pin), None)

    def prompts(self, rollout: Rollout, knobs: Knobs) -> tuple[Words, ...]:
        """In which words the judge would be asked about a rollout; none where it has no words.

        Takes as long as reading and wording a rollout does; nothing is sent.

        Raises:
            InvalidRequest: `static_rubrics` names no set.
        """
        reading = read_rollout(rollout, knobs, self._library, 0)
        if refusal_of(reading) is not None:
            return ()
        errand = _Errand(reading, Origin(), Meter(), 0.0)
        task = errand.citation_task(self._settings.max_claims)
        return self._judge.prompts(errand.criteria_task(), task)

    async def _read(self, rollout: Rollout, request: Knobs, position: int) -> Reading:
        knobs = Knobs.resolve(self._settings, request, rollout)
        if _characters(rollout) <= _READ_INLINE:
            return read_rollout(rollout, knobs, self._library, position, sources_of=self._sources)
        # A hostile megabyte takes a second to parse; in a thread it cannot stop the others.
        return await asyncio.to_thread(read_rollout, rollout, knobs, self._library, position)

    async def _result(
        self, reading: Reading, meter: Meter, deadline: float | None, origin: Origin
    ) -> ScoreResult:
        versions = self._versions(reading.static_rubrics)
        refusal = refusal_of(reading)
        if refusal is not None:
            return refused(reading, refusal, self._usage(meter, 0.0), versions)
        start = time.perf_counter()
        own = time.monotonic() + self._settings.judge_deadline_s
        limit = own if deadline is None else min(own, deadline)
        outcome = await self._outcome(_Errand(reading, origin, meter, limit))
        usage = self._usage(meter, time.perf_counter() - start)
        if isinstance(outcome, Failure):
            return failed(reading, outcome, usage, versions)
        with self._timed("score"):
            return scored(reading, outcome, usage, versions, cached=meter.all_kept)

    async def _outcome(self, errand: _Errand) -> Verdicts | Failure:
        try:
            # The judge keeps the deadline itself; this timeout holds one that does not.
            async with asyncio.timeout(errand.deadline - time.monotonic()):
                return await self._verdicts(errand)
        except JudgeError as error:
            return error.failure()
        except TimeoutError:
            return DeadlineExceeded("no verdict before the deadline").failure()

    async def _verdicts(self, errand: _Errand) -> Verdicts:
        """Ask both questions at once; the first failure cancels the other, which costs money."""
        task = errand.citation_task(self._settings.max_claims)
        try:
            async with asyncio.TaskGroup() as group:
                criteria = group.create_task(self._criteria(errand))
                citations = group.create_task(self._citations(task, errand))
        except* JudgeError as failures:
            raise _first(failures) from None
        return Verdicts(criteria.result(), judged_claims(task, citations.result()))

    async def _criteria(self, errand: _Errand) -> tuple[CriterionVerdict, ...]:
        with self._timed("criteria"):
            return await self._judge.judge_criteria(
                errand.criteria_task(), meter=errand.meter, deadline=errand.deadline
            )

    async def _citations(
        self, task: CitationTask | None, errand: _Errand
    ) -> CitationVerdicts | None:
        if task is None:
            return None
        with self._timed("citations"):
            return await self._judge.judge_citations(
                task, meter=errand.meter, deadline=errand.deadline
            )

    @contextmanager
    def _timed(self, stage: Stage) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with open_span(self._tracer, stage):
                yield
        finally:
            self._metrics.stages[stage].observe(time.perf_counter() - start)

    def _usage(self, meter: Meter, latency_s: float) -> JudgeUsage:
        return JudgeUsage(
            model=self._judge.identity.model,
            calls=meter.usage.calls,
            prompt_tokens=meter.usage.prompt_tokens,
            cached_tokens=meter.usage.cached_tokens,
            completion_tokens=meter.usage.completion_tokens,
            latency_s=latency_s,
        )

    def _versions(self, static_rubrics: str) -> Versions:
        return Versions(
            service=self._version,
            scoring=SCORING_VERSION,
            prompts=self._judge.identity.prompts,
            static_rubrics=static_rubrics,
        )


def _entry(
    rollout: Rollout,
    result: ScoreResult,
    origin: Origin,
    replies: tuple[Words, ...],
    position: int,
) -> Entry:
    return Entry(
        rollout=rollout,
        result=result,
        run=rollout.run or origin.run,
        step=origin.step if rollout.step is None else rollout.step,
        at=time.time(),
        replies=replies,
        position=position,
    )


def _refuse_unknown_set(settings: Settings, library: RubricLibrary) -> None:
    """Better refused once, at the start, than with every rollout as if that were its fault."""
    if settings.instance_rubrics_only:
        return
    try:
        library.named(settings.static_rubrics)
    except UnknownSet as error:
        raise SettingsError(f"static_rubrics: {error}") from error


def _characters(rollout: Rollout) -> int:
    """The length of all that is parsed."""
    structured = sum(len(snippet.text) for snippet in rollout.snippets or ())
    return len(rollout.response) + len(rollout.tool_output or "") + structured


def _first(failures: BaseExceptionGroup[JudgeError]) -> JudgeError:
    """The first leaf of a group: tasks that fail together are told as one failure."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
