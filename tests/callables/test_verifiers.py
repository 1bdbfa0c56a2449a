"""The contract of verifiers: raise to leave a trace out; the older one takes numbers only."""

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from callables.rows import ENVELOPE, QUESTION, RESPONSES, SOURCES, expected, results
from citemark_grpo.errors import TimedOut, Unjudged, Unreachable
from citemark_grpo.verifiers import legacy_reward, reward
from citemark_schemas import EnvelopeError, FailureKind, metrics_of


class Message(BaseModel):
    """A tool's answer, as verifiers has it."""

    role: str = "tool"
    content: str


class Task(BaseModel):
    """A task's data: the package's own fields, and the data set's."""

    model_config = ConfigDict(extra="allow", frozen=True)

    idx: int = 0
    id: str | None = None
    name: str | None = None
    prompt: str = QUESTION


class Trace:
    """What is read and written of a trace; the real one is used by `make test-trainers`."""

    def __init__(self, response, tools=(), *, is_truncated=False):
        self.last_reply: str = response
        self.tool_messages = [Message(content=text) for text in tools]
        self.is_truncated: bool = is_truncated
        self.metrics: dict[str, float] = {}

    def record_metrics(self, values: Any) -> None:
        self.metrics.update(values)


async def test_every_reward_is_the_services_and_its_metrics_are_recorded(citemark_url, use):
    use(citemark_url)
    traces = [Trace(response) for response in RESPONSES]
    assert [await reward(Task(**ENVELOPE), trace) for trace in traces] == expected(citemark_url)
    known = metrics_of(results(citemark_url)[0])
    assert traces[0].metrics == {f"citemark_{name}": value for name, value in known.items()}


async def test_what_tools_answered_is_a_source_where_the_row_has_none(citemark_url, use):
    use(citemark_url)
    row = {name: ENVELOPE[name] for name in ("positive_rubrics", "negative_rubrics")}
    trace = Trace(RESPONSES[0], tools=SOURCES.splitlines())
    assert await reward(Task(**row), trace) == expected(citemark_url)[0]


async def test_a_failed_judge_raises_and_records_nothing(start, use):
    use(start().server.url)
    trace = Trace(RESPONSES[0])
    with pytest.raises(Unjudged) as failed:
        await reward(Task(**{**ENVELOPE, "question": "fail"}), trace)
    assert failed.value.failure.kind is FailureKind.UNREACHABLE
    assert trace.metrics == {}


async def test_a_service_that_cannot_be_reached_raises(closed_url, use, monkeypatch):
    use(closed_url)
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.3")
    # A busy machine may not even have tried to connect by then.
    with pytest.raises((Unreachable, TimedOut)):
        await reward(Task(**ENVELOPE), Trace(RESPONSES[0]))


async def test_how_the_trace_ended_is_told(service, use):
    use(service.url)
    for truncated in (True, False):
        await reward(Task(**ENVELOPE), Trace("x", is_truncated=truncated))
    ends = [request["items"][0]["finish_reason"] for request in service.requests]
    assert ends == ["length", "stop"]


@pytest.mark.parametrize("place", ["info", "answer"])
async def test_the_older_rubric_gets_the_same_number(citemark_url, use, place):
    use(citemark_url)
    state: dict[str, Any] = {}
    completion = [{"role": "assistant", "content": RESPONSES[0]}]
    given = {"info": {}, "answer": "", place: ENVELOPE}
    scored = await legacy_reward(
        [{"role": "user", "content": QUESTION}], completion, state=state, parser=None, **given
    )
    assert scored == expected(citemark_url)[0]
    assert state["judge_failed"] == 0.0


async def test_the_older_rubric_gets_a_stand_in_since_it_cannot_leave_out(start, use):
    use(start().server.url)
    info, state = {**ENVELOPE, "group": "g"}, dict[str, Any]()
    known = await legacy_reward(QUESTION, RESPONSES[0], info=info)
    failed = await legacy_reward(
        QUESTION, RESPONSES[0], info={**info, "question": "fail"}, state=state
    )
    assert known == failed != 0
    assert state["judge_failed"] == 1.0


async def test_a_malformed_row_is_named(citemark_url, use):
    use(citemark_url)
    with pytest.raises(EnvelopeError, match=r"task\.negative_rubrics"):
        await reward(Task(**{**ENVELOPE, "negative_rubrics": "not JSON"}), Trace("x"))
