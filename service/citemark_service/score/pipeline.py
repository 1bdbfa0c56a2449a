"""One rollout from text to reward: parse, refuse or judge, score, keep. Owns fan-out and deadline.

The order matters: refusals come before any judge call and before any flip, so an empty answer
cannot collect the credit of defects it avoids; the arithmetic comes last and only ever sees
complete verdicts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Final

from opentelemetry.trace import NoOpTracer, Tracer

from citemark_rubrics import RubricLibrary, RubricSet, UnknownSet
from citemark_schemas import CriterionVerdict, JudgeUsage, Knobs, Rollout, ScoreResult, Versions
from citemark_service.errors import DeadlineExceeded, JudgeError, SettingsError
from citemark_service.judges.tasks import (
    CitationVerdicts,
    Judge,
    JudgeIdentity,
    Meter,
    Origin,
    Words,
)
from citemark_service.parsing.sources import read_sources
from citemark_service.score.formula import SCORING_VERSION
from citemark_service.score.report import log_rollout, rollout_attributes
from citemark_service.score.rollout import (
    ParsedRollout,
    ScoredRollout,
    Verdicts,
    check_rollout,
    find_static_set,
    parse_rollout,
    rollout_id,
    static_pin,
)
from citemark_service.settings import Settings
from citemark_service.telemetry.logs import log_context
from citemark_service.telemetry.metrics import Metrics, Stage
from citemark_service.telemetry.traces import open_span, set_attributes

Keep = Callable[[ScoredRollout], Awaitable[None]]
"""Returns when the rollout is kept, or will be. Raises nothing."""

_GROUPS_KEPT: Final = 64
_READ_INLINE: Final = 100_000
"""Characters; an ordinary rollout of this size is parsed in a few milliseconds."""


class Pipeline:
    """Scores rollouts with one judge. Safe to call concurrently; keeps no state per rollout.

    Args:
        keep: called with each scored rollout before its result is returned.
        logs: whether rollouts without a reward are logged, and all of them where
            `settings.log_rollouts` is true.

    Raises:
        SettingsError: the default static set is not in the library.
    """

    def __init__(
        self,
        *,
        judge: Judge,
        library: RubricLibrary,
        settings: Settings,
        metrics: Metrics,
        keep: Keep | None = None,
        tracer: Tracer = NoOpTracer(),
        logs: bool = False,
    ) -> None:
        if not settings.instance_rubrics_only:
            try:  # refused once, at the start, and not with every rollout
                library.find(settings.static_rubrics)
            except UnknownSet as error:
                raise SettingsError(f"static_rubrics: {error}") from error
        self._judge = judge
        self._library = library
        self._settings = settings
        self._metrics = metrics
        self._keep = keep
        self._tracer = tracer
        self._logs = logs
        self._version = version("citemark")
        # Samples of a group come together, and share what is parsed and hashed of their sources.
        self._read_sources = lru_cache(maxsize=_GROUPS_KEPT)(read_sources)

    @property
    def judged_by(self) -> JudgeIdentity:
        return self._judge.identity

    def check(self, rollout: Rollout, request: Knobs) -> None:
        """Refuse what the schema cannot know to be wrong, before anything is judged.

        Raises:
            InvalidRequest: as `check_rollout`; the message names the field.
        """
        check_rollout(rollout, Knobs.resolve(self._settings, request, rollout), self._library)

    def provenance(self, rollout: Rollout, request: Knobs) -> tuple[Knobs, Versions]:
        """What the result of `score` will record of its making, without making it.

        Raises:
            InvalidRequest: `static_rubrics` names no set.
        """
        knobs = Knobs.resolve(self._settings, request, rollout)
        return knobs, self._versions(static_pin(find_static_set(self._library, knobs)))

    def static_set(self, pin: str) -> RubricSet | None:
        """The static set that results record as `pin`; None where it is not the one loaded."""
        return next((each for each in self._library.sets() if static_pin(each) == pin), None)

    def prompts(self, rollout: Rollout, knobs: Knobs) -> tuple[Words, ...]:
        """In which words the judge would be asked about a rollout; none where it has no words.

        Takes as long as parsing a rollout and rendering its prompts; nothing is sent.

        Raises:
            InvalidRequest: `static_rubrics` names no set.
        """
        parsed = parse_rollout(rollout, knobs, self._library, 0)
        if parsed.refusal is not None:
            return ()
        origin = Origin()
        citations = parsed.citation_task(origin, cap=self._settings.max_claims)
        return self._judge.prompts(parsed.criteria_task(origin), citations)

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
        name = rollout_id(rollout, position)
        with open_span(self._tracer, "rollout") as span, log_context(rollout=name):
            with self._time_stage("parse"):
                parsed = await self._parse(rollout, request, position)
            meter = Meter()
            result = await self._score_parsed(parsed, meter, deadline, origin)
            self._metrics.count_rollout(result, answer_characters=len(parsed.answer.text))
            scored = ScoredRollout(
                rollout=rollout,
                result=result,
                run=rollout.run or origin.run,
                step=origin.step if rollout.step is None else rollout.step,
                at=time.time(),
                replies=meter.replies,
                position=position,
            )
            if span.is_recording():
                set_attributes(span, rollout_attributes(scored))
            if self._logs:
                log_rollout(scored, texts=self._settings.log_rollouts)
            if self._keep is not None:
                # Those of many rollouts share one write; each has a span of its own wait.
                with open_span(self._tracer, "ledger"):
                    await self._keep(scored)
            return result

    async def _parse(self, rollout: Rollout, request: Knobs, position: int) -> ParsedRollout:
        knobs = Knobs.resolve(self._settings, request, rollout)
        characters = len(rollout.response) + len(rollout.tool_output or "")
        characters += sum(len(snippet.text) for snippet in rollout.snippets or ())
        if characters > _READ_INLINE:
            # A hostile megabyte takes a second to parse; in a thread it cannot stop the others.
            return await asyncio.to_thread(parse_rollout, rollout, knobs, self._library, position)
        return parse_rollout(
            rollout, knobs, self._library, position, read_sources=self._read_sources
        )

    async def _score_parsed(
        self, parsed: ParsedRollout, meter: Meter, deadline: float | None, origin: Origin
    ) -> ScoreResult:
        versions = self._versions(parsed.static_rubrics)
        if (refusal := parsed.refusal) is not None:
            return parsed.refuse(refusal, self._usage(meter, 0.0), versions)
        start = time.perf_counter()
        ends_at = time.monotonic() + self._settings.judge_deadline_s
        ends_at = ends_at if deadline is None else min(ends_at, deadline)
        verdicts: Verdicts | JudgeError
        try:
            # The judge keeps the deadline itself; this timeout holds one that does not.
            async with asyncio.timeout(ends_at - time.monotonic()):
                verdicts = await self._await_verdicts(parsed, meter, ends_at, origin)
            parsed.require_all(verdicts)
        except JudgeError as error:
            verdicts = error
        except TimeoutError:
            verdicts = DeadlineExceeded("no verdict before the deadline")
        usage = self._usage(meter, time.perf_counter() - start)
        if isinstance(verdicts, JudgeError):
            return parsed.fail(verdicts.failure(), usage, versions)
        with self._time_stage("score"):
            return parsed.score(verdicts, usage, versions, cached=meter.all_kept)

    async def _await_verdicts(
        self, parsed: ParsedRollout, meter: Meter, deadline: float, origin: Origin
    ) -> Verdicts:
        """Ask both questions at once; the first failure cancels the other, which costs money."""
        criteria_task = parsed.criteria_task(origin)
        citation_task = parsed.citation_task(origin, cap=self._settings.max_claims)

        async def judge_criteria() -> tuple[CriterionVerdict, ...]:
            with self._time_stage("criteria"):
                return await self._judge.judge_criteria(
                    criteria_task, meter=meter, deadline=deadline
                )

        async def judge_citations() -> CitationVerdicts | None:
            if citation_task is None:
                return None
            with self._time_stage("citations"):
                return await self._judge.judge_citations(
                    citation_task, meter=meter, deadline=deadline
                )

        try:
            async with asyncio.TaskGroup() as group:
                criteria = group.create_task(judge_criteria())
                citations = group.create_task(judge_citations())
        except* JudgeError as failures:
            first: BaseException = failures
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        return Verdicts(criteria.result(), citation_task, citations.result())

    @contextmanager
    def _time_stage(self, stage: Stage) -> Iterator[None]:
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
