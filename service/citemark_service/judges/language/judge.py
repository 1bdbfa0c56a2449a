"""A language model as a judge: prompts out, validated verdicts back.

Two calls a rollout: its criteria (in parts of at most `criteria_per_call`, concurrently), and
its claims with the uncited sentences. The transport and its retries belong to the `Chat`.

This module owns the one retry of a *reply*. A truncated, unreadable or invalid reply is asked
for again without quotes and at temperature 0.3, because at temperature 0 the same request would
mostly fail the same way. A quote that the answer does not contain is asked about again without
quotes, so that no invented quote has steered the verdict. A second failure is raised.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from citemark_schemas import (
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    FailureKind,
    SentenceVerdict,
)
from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import Chat, ChatRequest, Message
from citemark_service.judges.language.evidence import Passage
from citemark_service.judges.language.grammar import Layout, citation_layout, criteria_layout
from citemark_service.judges.language.render import PromptWriter, shared_part
from citemark_service.judges.language.replies import Reading, read
from citemark_service.judges.protocol import (
    CitationTask,
    CitationVerdicts,
    CitedClaim,
    CriteriaTask,
    JudgeIdentity,
    Meter,
    Origin,
    Question,
    Words,
)
from citemark_service.parsing.visible import visible
from citemark_service.telemetry.lines import told
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.trail import Bound

TOP_LOGPROBS = 8
"""Enough to hold every menu digit among its neighbours, for a model that follows the layout."""
RETRY_TEMPERATURE = 0.3

_CITE_TAG = re.compile(r"</?cite\b[^<>]*>")
_log = logging.getLogger("citemark.judge")
_REPLY_ERRORS = (JudgeTruncated, JudgeUnreadable, InvalidVerdict)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question to the model: how to word it, with or without quotes, and what to read."""

    question: Question
    words: Callable[[Layout, bool], tuple[Message, ...]]
    layout: Callable[[bool], Layout]
    origin: Origin
    affinity: str
    meter: Meter
    deadline: float | None


class LanguageJudge:
    """A `Judge` over any chat endpoint. Safe to call concurrently.

    Every sample of a group gets the same criteria in the same order, and a prompt whose text up
    to its answer is the same byte for byte.
    """

    def __init__(
        self,
        chat: Chat,
        *,
        model: str,
        writer: PromptWriter,
        metrics: Metrics,
        criteria_per_call: int = 12,
        evidence_quotes: bool = True,
        top_logprobs: int = TOP_LOGPROBS,
    ) -> None:
        self._chat = chat
        self._writer = writer
        self._metrics = metrics
        self._criteria_per_call = criteria_per_call
        self._quotes = evidence_quotes
        self._top_logprobs = top_logprobs
        self._identity = JudgeIdentity(model, self._prompts_version())

    def _prompts_version(self) -> str:
        facts = (self._writer.version, self._criteria_per_call, self._quotes, self._top_logprobs)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]

    @property
    def identity(self) -> JudgeIdentity:
        """The model, and a hash of templates, grammar and what else shapes the prompts."""
        return self._identity

    @property
    def chat(self) -> Chat:
        """The endpoint, for probes of the server; verdicts come only through the judge."""
        return self._chat

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """One verdict per criterion, in order; one failed call fails them all.

        Raises:
            JudgeError: a call, or both readings of its reply, failed.
        """
        parts = _parts(task.criteria, self._criteria_per_call)
        if len(parts) == 1:  # as nearly always, and then a task of its own is only a cost
            return await self._criteria_part(task, parts[0], meter, deadline)
        calls = [
            asyncio.ensure_future(self._criteria_part(task, part, meter, deadline))
            for part in parts
        ]
        try:
            verdicts = await asyncio.gather(*calls)
        finally:
            await _settled(calls)
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
        ask = _Ask(
            question="citations",
            words=lambda layout, _: self._writer.citations(task, layout),
            layout=lambda _: layout,
            origin=task.origin,
            affinity=self._writer.affinity(task),
            meter=meter,
            deadline=deadline,
        )
        scores = (await self._read(ask, quotes=False)).scores
        return CitationVerdicts(
            claims=tuple(
                _claim_verdict(claim, scores[str(number)])
                for number, claim in enumerate(task.claims, start=1)
            ),
            sentences=tuple(
                SentenceVerdict(factual=scores[f"s{number}"][0])
                for number in range(1, len(task.sentences) + 1)
            ),
        )

    def prompts(self, criteria: CriteriaTask, citations: CitationTask | None) -> tuple[Words, ...]:
        """Every question as it is first asked. Safe in any thread."""
        writer = self._writer.apart()
        asked = [
            Words("criteria", _told(self._criteria_words(writer, criteria, part)))
            for part in _parts(criteria.criteria, self._criteria_per_call)
        ]
        if citations is not None:
            messages = writer.citations(citations, _citation_layout(citations))
            asked.append(Words("citations", _told(messages)))
        return tuple(asked)

    def _criteria_words(
        self, writer: PromptWriter, task: CriteriaTask, part: Sequence[Criterion]
    ) -> tuple[Message, ...]:
        layout = criteria_layout(len(part), quotes=self._quotes)
        return writer.criteria(task, part, layout, quotes=self._quotes)

    async def check(self) -> None:
        """Return when the endpoint serves the model; raise `JudgeError` saying why it does not."""
        await self._chat.check()

    async def aclose(self) -> None:
        """Close the endpoint."""
        await self._chat.aclose()

    async def _criteria_part(
        self,
        task: CriteriaTask,
        criteria: Sequence[Criterion],
        meter: Meter,
        deadline: float | None,
    ) -> tuple[CriterionVerdict, ...]:
        ask = _Ask(
            question="criteria",
            words=lambda layout, quotes: self._writer.criteria(
                task, criteria, layout, quotes=quotes
            ),
            layout=lambda quotes: criteria_layout(len(criteria), quotes=quotes),
            origin=task.origin,
            affinity=self._writer.affinity(task),
            meter=meter,
            deadline=deadline,
        )
        reading = await self._read(ask, quotes=self._quotes)
        keys = [str(number) for number in range(1, len(criteria) + 1)]
        found = _found_quotes(reading, keys, task.answer.prose)
        unsteered = reading
        if not all(found.values()):
            self._retried(FailureKind.INVALID_VERDICT, ask)
            with Bound(ask=2):
                unsteered = await self._once(ask, quotes=False, temperature=0.0)
        return tuple(_criterion_verdict(key, found.get(key), reading, unsteered) for key in keys)

    async def _read(self, ask: _Ask, *, quotes: bool) -> Reading:
        """A valid reply, the second time where the first was none."""
        try:
            return await self._once(ask, quotes=quotes, temperature=0.0)
        except _REPLY_ERRORS as error:
            self._retried(error.kind, ask)
        with Bound(ask=2):
            return await self._once(ask, quotes=False, temperature=RETRY_TEMPERATURE)

    def _retried(self, kind: FailureKind, ask: _Ask) -> None:
        self._metrics.judge_retry(kind)
        facts = {"kind": kind.value, "question": ask.question}
        _log.info("%s: the %s are asked about again", kind.value, ask.question, extra=told(facts))

    async def _once(self, ask: _Ask, *, quotes: bool, temperature: float) -> Reading:
        layout = ask.layout(quotes)
        messages = ask.words(layout, quotes)
        request = ChatRequest(
            messages=messages,
            constraint=layout.constraint,
            max_tokens=layout.max_tokens,
            temperature=temperature,
            top_logprobs=self._top_logprobs,
            priority=ask.origin.priority,
            caller=ask.origin.caller,
            affinity=ask.affinity,
            shared=shared_part(messages),
        )
        reply = await self._chat.complete(request, meter=ask.meter, deadline=ask.deadline)
        ask.meter.hear(ask.question, reply.content)
        return read(reply, layout)


def _citation_layout(task: CitationTask) -> Layout:
    return citation_layout(tuple(len(claim.ids) for claim in task.claims), len(task.sentences))


def _told(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)


async def _settled(calls: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    waiting = [call for call in calls if not call.done()]
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _parts(criteria: tuple[Criterion, ...], limit: int) -> list[tuple[Criterion, ...]]:
    """As few parts as the limit allows, of nearly equal size, in order."""
    count = -(-len(criteria) // limit)
    edges = [len(criteria) * part // count for part in range(count + 1)] if count else []
    return [criteria[start:stop] for start, stop in pairwise(edges)]


def _quote_of(reading: Reading, key: str) -> str:
    """The quote before a verdict, without the tags that the prompt wrote into the answer."""
    return _CITE_TAG.sub("", reading.quotes.get(f"q{key}", "")).strip()


def _found_quotes(reading: Reading, keys: Sequence[str], prose: str) -> dict[str, bool]:
    """For each verdict above 0 that came with a quote: does the answer hold the quote?"""
    quoted = {key: _quote_of(reading, key) for key in keys if reading.digits[key][0] > 0}
    claimed = {key: quote for key, quote in quoted.items() if quote}
    if not claimed:
        return {}
    passage = Passage(visible(prose))
    return {key: passage.holds(quote) for key, quote in claimed.items()}


def _criterion_verdict(
    key: str, found: bool | None, reading: Reading, unsteered: Reading
) -> CriterionVerdict:
    """The verdict, from the reply without quotes where this one's quote was invented."""
    score = (unsteered if found is False else reading).scores[key][0]
    evidence = _quote_of(reading, key) if found else None
    return CriterionVerdict(score=score, evidence=evidence, evidence_found=found)


def _claim_verdict(claim: CitedClaim, scores: tuple[float, ...]) -> ClaimVerdict:
    support, substantive, *contributing = scores
    return ClaimVerdict(
        support=support,
        substantive=substantive,
        contributing=dict(zip(claim.ids, contributing, strict=False)),
    )
