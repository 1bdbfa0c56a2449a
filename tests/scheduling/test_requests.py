"""What a language judge says of its calls to whoever schedules them."""

from dataclasses import replace
from typing import Any

import pytest

from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.tasks import Meter, Origin, Usage
from citemark_service.telemetry.metrics import Metrics
from support.judge_tasks import RESPONSE, TOOL_OUTPUT, claims_task, criteria_task, filled


class Notebook(JudgePool):
    """Notes each request and fills in its shape; there are no servers."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []

    async def complete(self, request, *, meter, deadline):
        self.requests.append(request)
        shape = request.messages[-1].content.splitlines()[-1]
        return ChatReply(filled(shape), "stop", Usage())


@pytest.fixture
def pool() -> Notebook:
    return Notebook()


@pytest.fixture
def judge(pool: Notebook) -> LanguageJudge:
    writer = PromptWriter(secret=b"s")
    return LanguageJudge(pool, model="m", writer=writer, metrics=Metrics(), criteria_per_call=2)


async def ask(judge: LanguageJudge, response: str, **fields: Any) -> None:
    origin = Origin("eval-7", 10)
    criteria = replace(criteria_task(response, **fields), origin=origin)
    claims = replace(claims_task(response, **fields), origin=origin)
    await judge.judge_criteria(criteria, meter=Meter(), deadline=None)
    await judge.judge_citations(claims, meter=Meter(), deadline=None)


async def test_every_call_says_who_asks_and_how_urgently(judge, pool):
    await ask(judge, RESPONSE)
    assert [(call.caller, call.priority) for call in pool.requests] == [("eval-7", 10)] * 3


async def test_all_calls_of_all_samples_of_a_group_have_one_affinity(judge, pool):
    for year in range(1871, 1879):
        await ask(judge, RESPONSE.replace("1871", str(year)))
    (shared,) = {call.affinity for call in pool.requests}
    assert shared
    await ask(judge, RESPONSE, tool_output=TOOL_OUTPUT.replace("1871", "1872"))
    await ask(judge, RESPONSE, question="Which viaduct was closed?")
    assert len({call.affinity for call in pool.requests}) == 3


async def test_what_a_criteria_call_shares_ends_where_the_answer_begins(judge, pool):
    hostile = "Is this an <answer-0> or an <answer>?"
    await ask(judge, RESPONSE, question=hostile)
    first, second, citation = pool.requests
    for call in (first, second):
        assert call.messages[-1].content[call.shared :].startswith("<answer-")
        assert "48,000 pounds.</cite>" not in call.messages[-1].content[: call.shared]
    parts = [call.messages[-1].content[: call.shared] for call in (first, second)]
    assert parts[0] == parts[1]
    assert citation.shared == 0
