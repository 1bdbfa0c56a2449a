"""A language model as a judge: prompts out, validated verdicts back.

Two calls a rollout: its criteria (in parts of at most `criteria_per_call`, concurrently), and
its claims with the uncited sentences (in parts whose sources fit a prompt). Transport errors are
retried by `JudgePool`; this module retries a *reply*, once. A truncated, unreadable or invalid
reply is asked for again without quotes; so is one with a quote that the answer does not contain,
since an invented quote may have influenced the verdict. A second failure is raised.

With a writer that reads, the same prompts end before what is asked, and the server is sent a
question for each digit instead, 64 a call. Their answers would be the same again, so they are
never asked for again; and they quote nothing.
"""

import asyncio
import hashlib
import logging
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from citemark_schemas import (
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    FailureKind,
    SentenceVerdict,
)
from citemark_service.errors import (
    InvalidVerdict,
    JudgeTruncated,
    JudgeUnreadable,
    PromptTooLong,
)
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.language.answers import MOST_QUESTIONS, parse_answers
from citemark_service.judges.language.ladder import Ladder, Render
from citemark_service.judges.language.render import Prompt, PromptWriter, shared_part
from citemark_service.judges.language.replies import ParsedReply, find_quotes, parse_reply
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Question,
    T,
    Words,
)
from citemark_service.telemetry.logs import log_context, log_fields
from citemark_service.telemetry.metrics import Metrics
from citemark_service.threads import INLINE

RETRY_TEMPERATURE = 0.3  # at 0 the same request would mostly fail the same way

_CITE_TAG = re.compile(r"</?cite\b[^<>]*>")
_log = logging.getLogger("citemark.judge")


class _Ask(NamedTuple):
    """One question to the model; `write(quotes=…)` returns its prompt."""

    question: Question
    writer: PromptWriter
    task: CriteriaTask | CitationTask
    write: Callable[..., Prompt]
    meter: Meter
    deadline: float | None


class LanguageJudge(Judge):
    """A `Judge` over the servers of a model."""

    def __init__(
        self,
        pool: JudgePool,
        *,
        model: str,
        writer: PromptWriter,
        metrics: Metrics,
        criteria_per_call: int = 12,
        evidence_quotes: bool = True,
        top_logprobs: int = 8,
        least_label_mass: float = 0.5,
    ) -> None:
        self.pool = pool  # public for probes of the servers
        self._writer = writer
        self._ladder = Ladder(writer)
        self._metrics = metrics
        # What is read has no part in the other questions of its call.
        self._criteria_per_call = sys.maxsize if writer.reads else criteria_per_call
        self._quotes = evidence_quotes and not writer.reads
        self._top_logprobs = 0 if writer.reads else top_logprobs
        self._least_label_mass = least_label_mass  # decides whether there is a verdict, not which
        # All that may change a verdict besides its task and the model.
        facts = (writer.version, self._criteria_per_call, self._quotes, self._top_logprobs)
        version = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
        self.identity = JudgeIdentity(model, version)

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """One verdict per criterion, in order. Raises `JudgeError` where one call fails."""
        writer = self._ladder.find_first(self.pool.context)
        task = self._cut_for(writer, task)
        parts = _divide(task.criteria, self._criteria_per_call)
        judged = await _gather(
            [self._judge_part(writer, task, part, meter, deadline) for part in parts]
        )
        return tuple(verdict for part in judged for verdict in part)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        """As `judge_criteria`; no call for a task without claims and sentences."""
        if not task.claims and not task.sentences:
            return CitationVerdicts((), ())
        writer = self._ladder.find_first(self.pool.context)
        return await self._judge_citations(writer, self._cut_for(writer, task), meter, deadline)

    async def _judge_citations(
        self, writer: PromptWriter, task: CitationTask, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        parts = writer.divide(task)
        judged = await _gather(
            [self._judge_claims(writer, part, meter, deadline) for part in parts]
        )
        found = {
            claim: verdict
            for part, verdicts in zip(parts, judged, strict=True)
            for claim, verdict in zip(part.claims, verdicts.claims, strict=True)
        }
        return CitationVerdicts(tuple(found[claim] for claim in task.claims), judged[0].sentences)

    async def _judge_claims(
        self, writer: PromptWriter, task: CitationTask, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        written = writer.citations(task)
        ask = _Ask("citations", writer, task, lambda **_: written, meter, deadline)
        try:
            reading = await self._ask(ask, quotes=False)
        except PromptTooLong as refusal:
            uncut = replace(task, cuts=None)
            shorter = await self._shorten(
                ask, refusal, lambda each: [each.citations(part) for part in each.divide(uncut)]
            )
            return await self._judge_citations(shorter, uncut, meter, deadline)
        scores = reading.scores
        claims = []
        for number, claim in enumerate(task.claims, start=1):
            key = str(number)
            support, substantive, *parts = scores[key]
            # A claim with one id has no contribution digits.
            contributing = dict(zip(claim.ids, parts, strict=False))
            claims.append(
                ClaimVerdict(
                    support=support,
                    substantive=substantive,
                    contributing=contributing,
                    variances=reading.variances[key],
                    caveats=reading.caveats(key),
                )
            )
        sentences = tuple(
            SentenceVerdict(
                factual=scores[key][0],
                variance=reading.variance(key),
                caveats=reading.caveats(key),
            )
            for key in (f"s{number}" for number in range(1, len(task.sentences) + 1))
        )
        return CitationVerdicts(tuple(claims), sentences)

    def cut(self, task: T) -> T:
        return self._writer.cut(task)

    def _cut_for(self, writer: PromptWriter, task: T) -> T:
        return writer.cut(task if writer is self._writer else replace(task, cuts=None))

    def prompts(self, criteria: CriteriaTask, citations: CitationTask | None) -> tuple[Words, ...]:
        """Every prompt of a first call. Safe in any thread."""
        writer = self._ladder.find_first(self.pool.context).apart()
        words = []
        for few in _divide(criteria.criteria, self._criteria_per_call):
            prompt = writer.criteria(criteria, few, quotes=self._quotes)
            words.append(Words("criteria", _join(prompt)))
        if citations is not None:
            parts = writer.divide(citations)
            words += [Words("citations", _join(writer.citations(each))) for each in parts]
        return tuple(words)

    async def check(self) -> None:
        await self.pool.check()

    async def aclose(self) -> None:
        await self.pool.aclose()

    async def _shorten(self, ask: _Ask, refusal: PromptTooLong, render: Render) -> PromptWriter:
        """A writer of prompts that the server takes; raises `refusal` where there is none."""
        shorter = await self._ladder.find_shorter(ask.writer, refusal, render)
        self._metrics.count_retry(refusal.kind)
        fields = log_fields(question=ask.question, bytes=shorter.prompt_bytes)
        _log.info("the %s are asked about on a shorter prompt", ask.question, extra=fields)
        return shorter

    async def _judge_part(
        self,
        writer: PromptWriter,
        task: CriteriaTask,
        criteria: Sequence[Criterion],
        meter: Meter,
        deadline: float | None,
    ) -> tuple[CriterionVerdict, ...]:
        write = partial(writer.criteria, task, criteria)
        ask = _Ask("criteria", writer, task, write, meter, deadline)
        try:
            reading = await self._ask(ask, quotes=self._quotes)
        except PromptTooLong as refusal:
            uncut = replace(task, cuts=None)
            shorter = await self._shorten(
                ask, refusal, lambda each: [each.criteria(uncut, criteria, quotes=self._quotes)]
            )
            cut = shorter.cut(uncut)
            return await self._judge_part(shorter, cut, criteria, meter, deadline)
        keys = [str(number) for number in range(1, len(criteria) + 1)]
        quotes: dict[str, str] = {}
        for key in keys:
            # The prompt shows the answer with tags that its text does not have.
            quote = _CITE_TAG.sub("", reading.quotes.get(f"q{key}", "")).strip()
            if quote and reading.digits[key][0] > 0:
                quotes[key] = quote
        find = partial(find_quotes, task.answer.prose, quotes)
        found = await asyncio.to_thread(find) if len(task.answer.prose) > INLINE else find()
        unsteered = reading
        if not all(found.values()):
            unsteered = await self._ask_again(ask, FailureKind.INVALID_VERDICT, temperature=0.0)
        verdicts = []
        for key in keys:
            chosen = unsteered if found.get(key) is False else reading
            verdicts.append(
                CriterionVerdict(
                    score=chosen.scores[key][0],
                    variance=chosen.variance(key),
                    evidence=quotes[key] if found.get(key) else None,
                    evidence_found=found.get(key),
                    caveats=chosen.caveats(key),
                )
            )
        return tuple(verdicts)

    async def _ask(
        self, ask: _Ask, *, quotes: bool, temperature: float = 0.0, last: bool = False
    ) -> ParsedReply:
        """Return a valid reply; after an invalid one ask again, unless this is the `last` try."""
        write = partial(ask.write, quotes=quotes)
        prompt = await asyncio.to_thread(write) if _is_large(ask.task) else write()
        layout, messages, questions = prompt
        origin = ask.task.origin
        request = ChatRequest(
            messages=messages,
            constraint=None if questions else layout.constraint,
            max_tokens=layout.max_tokens,
            temperature=temperature,
            top_logprobs=self._top_logprobs,
            priority=origin.priority,
            caller=origin.caller,
            affinity=ask.writer.affinity(ask.task),
            shared=shared_part(messages),
        )
        cut = () if ask.writer is self._writer else ask.writer.find_cuts(ask.task)
        if questions:
            starts = range(0, len(questions), MOST_QUESTIONS)
            parts = [replace(request, questions=questions[n : n + MOST_QUESTIONS]) for n in starts]
            read = await _gather([self._send(ask, part) for part in parts])
            replies = [reply.content for reply in read]
            return replace(parse_answers(replies, layout, self._least_label_mass), cut=cut)
        try:
            return replace(parse_reply(await self._send(ask, request), layout), cut=cut)
        except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
            if last:
                raise
            kind = error.kind
        return await self._ask_again(ask, kind, temperature=RETRY_TEMPERATURE)

    async def _send(self, ask: _Ask, request: ChatRequest) -> ChatReply:
        reply = await self.pool.complete(request, meter=ask.meter, deadline=ask.deadline)
        ask.meter.keep_reply(ask.question, reply.content)
        return reply

    async def _ask_again(self, ask: _Ask, kind: FailureKind, *, temperature: float) -> ParsedReply:
        self._metrics.count_retry(kind)
        fields = log_fields(kind=kind.value, question=ask.question)
        _log.info("%s: the %s are asked about again", kind.value, ask.question, extra=fields)
        with log_context(ask=2):
            return await self._ask(ask, quotes=False, temperature=temperature, last=True)


def _is_large(task: CriteriaTask | CitationTask) -> bool:
    """Whether to write its prompt would hold the event loop."""
    characters = sum(len(source.text) for source in task.sources.by_id.values())
    if isinstance(task, CriteriaTask):
        characters += len(task.answer.text)
    return characters > INLINE


R = TypeVar("R")


async def _gather(calls: Sequence[Coroutine[Any, Any, R]]) -> Sequence[R]:
    """The results of all calls, in order; with the first failure the others end."""
    if len(calls) == 1:  # the usual case, without the cost of an asyncio task
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    # After a failure no other part may run on, and add to the meter, without a caller.
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _join(prompt: Prompt) -> str:
    said = [f"[{message.role}]\n{message.content}" for message in prompt.messages]
    for key, text, levels in prompt.questions:
        scale = (f"{level}: {meaning}" for level, meaning in enumerate(levels))
        said.append("\n".join([f"[question {key}]\n{text}", *scale]))
    return "\n\n".join(said)


def _divide(criteria: tuple[Criterion, ...], limit: int) -> list[tuple[Criterion, ...]]:
    """As few parts as the limit allows, of nearly equal size, in order."""
    count = -(-len(criteria) // limit)
    edges = [len(criteria) * part // count for part in range(count + 1)] if count else []
    return [criteria[start:stop] for start, stop in pairwise(edges)]
