"""The language judge over the real wire, against a server that says what it should not."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from citemark_schemas import FailureKind
from citemark_service.errors import (
    InvalidVerdict,
    JudgeRejected,
    JudgeTruncated,
    JudgeUnreadable,
)
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.tasks import CitationTask, CitationVerdicts, Meter
from support.judge_tasks import (
    CRITERIA,
    RetryLog,
    by_shape,
    claims_task,
    criteria_task,
    filled,
    shape_of,
)
from support.pooled_judge import pool_of
from support.scripted_judge import Hang, Listed, Reply, Script, ScriptedJudge, Status, in_turn

GOOD = '{"1":2,"2":1,"3":0}'


@dataclass
class Bench:
    server: ScriptedJudge
    judge: LanguageJudge
    log: RetryLog
    meter: Meter = field(default_factory=Meter)

    async def criteria(self):
        return await self.judge.judge_criteria(criteria_task(), meter=self.meter, deadline=None)

    async def citations(self, task: CitationTask | None = None) -> CitationVerdicts:
        task = task or claims_task()
        return await self.judge.judge_citations(task, meter=self.meter, deadline=None)


@asynccontextmanager
async def bench(script: Script, *, quotes: bool = False, **options: int) -> AsyncIterator[Bench]:
    log, writer = RetryLog(), PromptWriter(secret=b"s")
    async with ScriptedJudge(script) as server:
        pool = pool_of([server.url], attempts=1, timeout_s=300, metrics=log)
        judge = LanguageJudge(
            pool, model="scripted", writer=writer, metrics=log, evidence_quotes=quotes, **options
        )
        yield Bench(server, judge, log)
        await judge.aclose()


async def test_criteria_are_judged_in_one_call():
    async with bench(lambda _: Reply(GOOD)) as at:
        verdicts = await at.criteria()
        assert [verdict.score for verdict in verdicts] == [1.0, 0.5, 0.0]
        assert at.meter.usage.calls == at.server.calls == 1
        request = at.server.requests[0]
        assert request["structured_outputs"]["regex"].startswith(r'\{"1":[0-2],"2"')
        assert (request["temperature"], request["top_logprobs"]) == (0.0, 8)
        assert at.log.retries == []


async def test_claims_and_sentences_are_judged_in_one_call():
    async with bench(by_shape(S=1, U=1, C=1, F=1)) as at:
        verdicts = await at.citations()
        first, second = verdicts.claims
        assert (first.support, first.substantive, first.contributing) == (0.5, 1.0, {})
        assert second.contributing == {"S_2": 1.0, "S_3": 1.0}
        assert [sentence.factual for sentence in verdicts.sentences] == [1.0]
        assert at.server.calls == 1


async def test_nothing_to_judge_is_no_call():
    async with bench(lambda _: Hang()) as at:
        task = claims_task()
        empty = CitationTask(task.question, task.sources, (), ())
        assert await at.citations(empty) == CitationVerdicts((), ())
        assert at.server.calls == 0


async def test_logprobs_weigh_the_verdict():
    tokens = tuple(
        Listed(c, -0.7, (("2", -0.7), ("0", -0.7)) if c == "2" and at == 5 else ())
        for at, c in enumerate(GOOD)
    )
    async with bench(lambda _: Reply(GOOD, tokens=tokens)) as at:
        verdicts = await at.criteria()
        assert [verdict.score for verdict in verdicts] == [pytest.approx(0.5), 0.5, 0.0]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Reply('{"1":2,"2":1,"3'), JudgeUnreadable),
        (Reply(None), JudgeUnreadable),
        (Reply('{"1":2,"2":1,"3":7}'), InvalidVerdict),
        (Reply(GOOD, finish_reason="length"), JudgeTruncated),
    ],
    ids=range(4),
)
async def test_a_bad_reply_is_asked_for_again_and_then_a_typed_failure(bad, error):
    async with bench(in_turn(bad, Reply(GOOD))) as at:
        assert [verdict.score for verdict in await at.criteria()] == [1.0, 0.5, 0.0]
        assert at.log.retries == [error.kind]
        assert [request["temperature"] for request in at.server.requests] == [0.0, 0.3]
        assert at.meter.usage.calls == 2
    async with bench(in_turn(bad)) as at:
        with pytest.raises(error):
            await at.criteria()
        assert at.server.calls == 2


async def test_the_second_reading_goes_without_quotes():
    async with bench(in_turn(Reply('{"q1":"x"'), Reply(GOOD)), quotes=True) as at:
        verdicts = await at.criteria()
        assert [verdict.evidence_found for verdict in verdicts] == [None] * 3
        shapes = [shape_of(request) for request in at.server.requests]
        assert ["q1" in shape for shape in shapes] == [True, False]


def quoting(*quotes: str, then: str = GOOD) -> Callable[[dict], Reply]:
    """Quotes where they are asked for; `then` as the reply without."""

    def script(request: dict) -> Reply:
        if '"q1"' not in shape_of(request):
            return Reply(then)
        fields = zip(quotes, (2, 1, 0), (1, 2, 3), strict=True)
        return Reply("{" + ",".join(f'"q{n}":"{q}","{n}":{v}' for q, v, n in fields) + "}")

    return script


async def test_quotes_that_the_answer_holds_become_evidence():
    script = quoting("<cite S_1>The Alder viaduct opened in June 1871.</cite>", "", "nothing")
    async with bench(script, quotes=True) as at:
        verdicts = await at.criteria()
        assert verdicts[0].evidence == "The Alder viaduct opened in June 1871."
        found = [verdict.evidence_found for verdict in verdicts]
        assert found == [True, None, None]  # a verdict of 0 needs no quote, so none is checked
        assert at.server.calls == 1


async def test_an_invented_quote_steers_no_verdict():
    script = quoting("opened in June 1871", "it cost a fortune", "", then='{"1":0,"2":0,"3":2}')
    async with bench(script, quotes=True) as at:
        verdicts = await at.criteria()
        assert [verdict.score for verdict in verdicts] == [1.0, 0.0, 0.0]
        assert [verdict.evidence_found for verdict in verdicts] == [True, False, None]
        assert verdicts[1].evidence is None
        assert at.server.calls == 2
        assert at.log.retries == [FailureKind.INVALID_VERDICT]


async def test_an_invented_quote_and_no_second_reading_is_a_failure():
    async with bench(quoting("invented", "", "", then="{}"), quotes=True) as at:
        with pytest.raises(InvalidVerdict):
            await at.criteria()
        assert at.server.calls == 2


@pytest.mark.parametrize(("limit", "calls"), [(1, 3), (2, 2), (3, 1)])
async def test_criteria_are_split_evenly_and_keep_their_order(limit, calls):
    def script(request: dict) -> Reply:
        prompt = request["messages"][-1]["content"]
        return Reply(filled(shape_of(request), V=2 if "Opening" in prompt else 0))

    async with bench(script, criteria_per_call=limit) as at:
        verdicts = await at.criteria()
        assert at.server.calls == calls
        assert len(verdicts) == len(CRITERIA)
        assert verdicts[0].score == 1.0
        assert verdicts[-1].score == (1.0 if limit == 3 else 0.0)


async def test_one_failed_part_cancels_the_others_and_is_not_asked_about_again():
    openings = []

    def script(request: dict):
        if "Opening" not in request["messages"][-1]["content"]:
            return Hang()
        openings.append(request)
        return Status(400, "no")

    async with bench(script, criteria_per_call=1) as at:
        with pytest.raises(JudgeRejected):
            await at.criteria()
        await at.server.until(lambda: at.server.in_flight == 0)
        assert (len(openings), at.log.retries) == (1, [])
