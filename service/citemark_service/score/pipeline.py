"""One rollout from text to reward: parse, refuse or judge, score, keep.

Refusals come before any judge call, so an empty answer earns no credit for the defects it avoids.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Final

from opentelemetry.trace import NoOpTracer, Tracer

from citemark_rubrics import RubricLibrary, RubricSet, UnknownSet
from citemark_schemas import CriterionVerdict, JudgeUsage, Knobs, Rollout, ScoreResult, Versions
from citemark_schemas.rubric import IGNORED_KEYS
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
from citemark_service.score.criteria import check_rollout, find_static_set, static_pin
from citemark_service.score.formula import SCORING_VERSION
from citemark_service.score.report import log_rollout, rollout_attributes
from citemark_service.score.rollout import (
    ParsedRollout,
    ScoredRollout,
    Verdicts,
    parse_rollout,
    rollout_id,
)
from citemark_service.settings import Settings
from citemark_service.telemetry.logs import log_context
from citemark_service.telemetry.metrics import Metrics, Stage
from citemark_service.telemetry.traces import open_span, set_attributes
from citemark_service.threads import INLINE, FairThreads

Keep = Callable[[ScoredRollout], Awaitable[None]]
"""Returns once the rollout is stored or queued for storing. Raises nothing."""

_GROUPS_KEPT: Final = 64


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
            try:  # fail once at the start, not with every rollout
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
        self.threads = FairThreads()
        """Where whatever callers send is parsed that is large."""
        # Samples of a group arrive together with the same sources: parse and hash those once.
        self._read_sources = lru_cache(maxsize=_GROUPS_KEPT)(read_sources)

    @property
    def judged_by(self) -> JudgeIdentity:
        return self._judge.identity

    def check(self, rollout: Rollout, request: Knobs) -> None:
        """`check_rollout` under the knobs that `score` would use."""
        check_rollout(rollout, Knobs.resolve(self._settings, request, rollout), self._library)

    def read(self, raw: bytes, request: Knobs) -> Rollout:
        """The rollout of a JSON object, checked. Raises `ValidationError`, and as `check`."""
        context = {IGNORED_KEYS: self._settings.ignored_rubric_keys}
        rollout = Rollout.model_validate_json(raw, context=context)
        self.check(rollout, request)
        return rollout

    def provenance(self, rollout: Rollout, request: Knobs) -> tuple[Knobs, Versions]:
        """The knobs and versions that a result would record; raises as `find_static_set`."""
        knobs = Knobs.resolve(self._settings, request, rollout)
        return knobs, self._versions(static_pin(find_static_set(self._library, knobs)))

    def static_set(self, pin: str) -> RubricSet | None:
        """The loaded static set with this `name@version`, or None."""
        return next((each for each in self._library.sets() if static_pin(each) == pin), None)

    def prompts(self, rollout: Rollout, knobs: Knobs) -> tuple[Words, ...]:
        """Render the judge's prompts for a rollout, without sending them. Blocks while it does.

        There are none for a refused rollout and for a judge that has no prompts. Raises as
        `find_static_set`.
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
        """Score one rollout that has passed `check`; a judge that fails is not raised.

        Args:
            request: the request's knobs; the rollout's own take precedence.
            position: index in the request; the id of a rollout that has none.
            deadline: `time.monotonic()` at which judging stops, besides `judge_deadline_s`.
            origin: caller and priority; run and step of a rollout that names none.
        """
        name = rollout_id(rollout, position)
        with open_span(self._tracer, "rollout") as span, log_context(rollout=name):
            with self._time_stage("parse"):
                parsed = await self._parse(rollout, request, position, origin.caller)
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
            if result.reward_std is not None:
                group = rollout.group or (rollout.question, parsed.sources.digest)
                self._metrics.count_sample(hash((scored.run, scored.step, group)), result)
            if span.is_recording():
                set_attributes(span, rollout_attributes(scored))
            if self._logs:
                log_rollout(scored, texts=self._settings.log_rollouts)
            if self._keep is not None:
                # Many rollouts share one write; this span measures the wait of this one.
                with open_span(self._tracer, "ledger"):
                    await self._keep(scored)
            return result

    async def _parse(
        self, rollout: Rollout, request: Knobs, position: int, caller: str
    ) -> ParsedRollout:
        knobs = Knobs.resolve(self._settings, request, rollout)
        if rollout.characters > INLINE:
            # A hostile megabyte takes a second to parse; a thread keeps the event loop free.
            parse = partial(parse_rollout, rollout, knobs, self._library, position)
            return await self.threads.run(caller, parse)
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
            # Judges observe the deadline themselves; this timeout stops one that does not.
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
        """Ask both questions at once; a `JudgeError` of one cancels the other, to save cost."""
        criteria_task = parsed.criteria_task(origin)
        citation_task = parsed.citation_task(origin, cap=self._settings.max_claims)

        async def judge_criteria() -> tuple[CriterionVerdict, ...]:
            with self._time_stage("criteria"):
                ask = self._judge.judge_criteria
                return await ask(criteria_task, meter=meter, deadline=deadline)

        async def judge_citations() -> CitationVerdicts | None:
            if citation_task is None:
                return None
            with self._time_stage("citations"):
                ask = self._judge.judge_citations
                return await ask(citation_task, meter=meter, deadline=deadline)

        try:
            async with asyncio.TaskGroup() as group:
                criteria = group.create_task(judge_criteria())
                citations = group.create_task(judge_citations())
        except* JudgeError as failures:
            first: BaseException = failures  # a judge's own task groups may nest it deeper
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
        model = self._judge.identity.model
        return JudgeUsage(model=model, latency_s=latency_s, **asdict(meter.usage))

    def _versions(self, static_rubrics: str) -> Versions:
        return Versions(
            service=self._version,
            scoring=SCORING_VERSION,
            prompts=self._judge.identity.prompts,
            static_rubrics=static_rubrics,
        )
