"""A language model as a judge: prompts out, validated verdicts back.

Two calls a rollout: its criteria (in parts of at most `criteria_per_call`, concurrently), and
its claims with the uncited sentences. The transport and its retries belong to the `JudgePool`.

This module owns the one retry of a *reply*. A truncated, unreadable or invalid reply is asked
for again without quotes and at temperature 0.3, because at temperature 0 the same request would
mostly fail the same way. A quote that the answer does not contain is asked about again without
quotes, so that no invented quote has steered the verdict. A second failure is raised.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from citemark_schemas import (
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    FailureKind,
    SentenceVerdict,
)
from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import ChatRequest, Message
from citemark_service.judges.language.grammar import Layout, citation_layout, criteria_layout
from citemark_service.judges.language.render import PromptWriter, shared_part
from citemark_service.judges.language.replies import ParsedReply, QuotedText, parse_reply
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Question,
    Words,
)
from citemark_service.parsing.visible import visible
from citemark_service.telemetry.logs import log_context, log_fields
from citemark_service.telemetry.metrics import Metrics

TOP_LOGPROBS = 8
"""Enough to hold every menu digit among its neighbours, for a model that follows the layout."""
RETRY_TEMPERATURE = 0.3

_CITE_TAG = re.compile(r"</?cite\b[^<>]*>")
_log = logging.getLogger("citemark.judge")


class _Ask(NamedTuple):
    """One question to the model; `write` words it, with quotes or without."""

    question: Question
    task: CriteriaTask | CitationTask
    write: Callable[[bool], tuple[Layout, tuple[Message, ...]]]
    meter: Meter
    deadline: float | None


class LanguageJudge(Judge):
    """A `Judge` over the servers of a model. Safe to call concurrently.

    Every sample of a group gets the same criteria in the same order, and a prompt whose text up
    to its answer is the same byte for byte.
    """

    def __init__(
        self,
        pool: JudgePool,
        *,
        model: str,
        writer: PromptWriter,
        metrics: Metrics,
        criteria_per_call: int = 12,
        evidence_quotes: bool = True,
        top_logprobs: int = TOP_LOGPROBS,
    ) -> None:
        self.pool = pool
        """For probes of the servers; verdicts come only through the judge."""
        self._writer = writer
        self._metrics = metrics
        self._criteria_per_call = criteria_per_call
        self._quotes = evidence_quotes
        self._top_logprobs = top_logprobs
        facts = (writer.version, criteria_per_call, evidence_quotes, top_logprobs)
        version = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
        self.identity = JudgeIdentity(model, version)

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """One verdict per criterion, in order; one failed call fails them all.

        Raises:
            JudgeError: a call, or both readings of its reply, failed.
        """
        parts = _divide(task.criteria, self._criteria_per_call)
        if len(parts) == 1:  # as nearly always, and then a task of its own is only a cost
            return await self._judge_part(task, parts[0], meter, deadline)
        calls = [
            asyncio.ensure_future(self._judge_part(task, part, meter, deadline)) for part in parts
        ]
        try:
            verdicts = await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return tuple(verdict for part in verdicts for verdict in part)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        """One verdict per claim and sentence, in order; no call where there are none.

        Raises:
            JudgeError: the call, or both readings of its reply, failed.
        """
        if not task.claims and not task.sentences:
            return CitationVerdicts((), ())
        layout = _citation_layout(task)
        messages = self._writer.citations(task, layout)
        ask = _Ask("citations", task, lambda _: (layout, messages), meter, deadline)
        scores = (await self._ask(ask, quotes=False)).scores
        claims = []
        for number, claim in enumerate(task.claims, start=1):
            support, substantive, *parts = scores[str(number)]
            contributing = dict(zip(claim.ids, parts, strict=False))
            claims.append(
                ClaimVerdict(support=support, substantive=substantive, contributing=contributing)
            )
        numbers = range(1, len(task.sentences) + 1)
        sentences = tuple(SentenceVerdict(factual=scores[f"s{n}"][0]) for n in numbers)
        return CitationVerdicts(tuple(claims), sentences)

    def prompts(self, criteria: CriteriaTask, citations: CitationTask | None) -> tuple[Words, ...]:
        """Every question as it is first asked. Safe in any thread."""
        writer = self._writer.apart()
        words = []
        for part in _divide(criteria.criteria, self._criteria_per_call):
            layout = criteria_layout(len(part), quotes=self._quotes)
            messages = writer.criteria(criteria, part, layout, quotes=self._quotes)
            words.append(Words("criteria", _join(messages)))
        if citations is not None:
            messages = writer.citations(citations, _citation_layout(citations))
            words.append(Words("citations", _join(messages)))
        return tuple(words)

    async def check(self) -> None:
        """Return when a server serves the model; raise `JudgeError` saying why none does."""
        await self.pool.check()

    async def aclose(self) -> None:
        """Close the servers."""
        await self.pool.aclose()

    async def _judge_part(
        self,
        task: CriteriaTask,
        criteria: Sequence[Criterion],
        meter: Meter,
        deadline: float | None,
    ) -> tuple[CriterionVerdict, ...]:
        def write(quotes: bool) -> tuple[Layout, tuple[Message, ...]]:
            layout = criteria_layout(len(criteria), quotes=quotes)
            return layout, self._writer.criteria(task, criteria, layout, quotes=quotes)

        ask = _Ask("criteria", task, write, meter, deadline)
        reading = await self._ask(ask, quotes=self._quotes)
        keys = [str(number) for number in range(1, len(criteria) + 1)]
        quotes: dict[str, str] = {}
        for key in keys:
            # Without the tags that the prompt wrote into the answer.
            quote = _CITE_TAG.sub("", reading.quotes.get(f"q{key}", "")).strip()
            if quote and reading.digits[key][0] > 0:
                quotes[key] = quote
        passage = QuotedText(visible(task.answer.prose)) if quotes else None
        found = {key: passage is not None and passage.holds(quote) for key, quote in quotes.items()}
        unsteered = reading
        if not all(found.values()):
            unsteered = await self._ask_again(ask, FailureKind.INVALID_VERDICT, temperature=0.0)
        return tuple(
            CriterionVerdict(
                score=(unsteered if found.get(key) is False else reading).scores[key][0],
                evidence=quotes[key] if found.get(key) else None,
                evidence_found=found.get(key),
            )
            for key in keys
        )

    async def _ask(
        self, ask: _Ask, *, quotes: bool, temperature: float = 0.0, last: bool = False
    ) -> ParsedReply:
        """A valid reply; unless this is the `last` try, the second one where the first is none."""
        layout, messages = ask.write(quotes)
        origin = ask.task.origin
        request = ChatRequest(
            messages=messages,
            constraint=layout.constraint,
            max_tokens=layout.max_tokens,
            temperature=temperature,
            top_logprobs=self._top_logprobs,
            priority=origin.priority,
            caller=origin.caller,
            affinity=self._writer.affinity(ask.task),
            shared=shared_part(messages),
        )
        try:
            reply = await self.pool.complete(request, meter=ask.meter, deadline=ask.deadline)
            ask.meter.keep_reply(ask.question, reply.content)
            return parse_reply(reply, layout)
        except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
            if last:
                raise
            kind = error.kind
        return await self._ask_again(ask, kind, temperature=RETRY_TEMPERATURE)

    async def _ask_again(self, ask: _Ask, kind: FailureKind, *, temperature: float) -> ParsedReply:
        """A reply to the question without quotes, because of `kind`; for the last time."""
        self._metrics.count_retry(kind)
        fields = log_fields(kind=kind.value, question=ask.question)
        _log.info("%s: the %s are asked about again", kind.value, ask.question, extra=fields)
        with log_context(ask=2):
            return await self._ask(ask, quotes=False, temperature=temperature, last=True)


def _citation_layout(task: CitationTask) -> Layout:
    return citation_layout(tuple(len(claim.ids) for claim in task.claims), len(task.sentences))


def _join(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)


def _divide(criteria: tuple[Criterion, ...], limit: int) -> list[tuple[Criterion, ...]]:
    """As few parts as the limit allows, of nearly equal size, in order."""
    count = -(-len(criteria) // limit)
    edges = [len(criteria) * part // count for part in range(count + 1)] if count else []
    return [criteria[start:stop] for start, stop in pairwise(edges)]
