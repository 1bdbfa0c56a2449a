"""The whole service against a judge that fails: a typed failure, never an unsupported number."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from citemark_schemas import FailureKind
from citemark_service.app import create_app
from citemark_service.settings import Settings
from support.in_process_judges import CountingJudge
from support.judge_tasks import by_level, by_shape, shape_of
from support.judged_service import asked_service
from support.scripted_judge import (
    Answer,
    Hang,
    Listed,
    Raw,
    Reply,
    Reset,
    Script,
    ScriptedJudge,
    Status,
    completion,
)
from support.scripted_service import listening

ROLLOUT = {
    "question": "When did the Alder viaduct open, and what did it cost?",
    "tool_output": "<snippet id=S_1>It opened in 1871.</snippet><snippet id=S_2>48,000.</snippet>",
    "response": "<answer>So it is told. <snippet id=S_1>It opened in 1871.</snippet>"
    " <snippet id=S_2,S_1>It cost 48,000 pounds.</snippet></answer>",
    "positive_rubrics": ["Gives the year"],
    "negative_rubrics": ["Speaks of other bridges"],
}
GOOD = by_shape(V=2, S=2, U=1, C=1)
EVERYTHING = {"reward", "rubric_reward", "citation"}


@asynccontextmanager
async def service(script: Script, **settings: Any) -> AsyncIterator[tuple[Any, ScriptedJudge]]:
    async with ScriptedJudge(script) as judge:
        given = {"judge_attempts": 2, "judge_linger_s": 0.0, "evidence_quotes": True, **settings}
        async with asked_service(judge, **given) as client:
            yield client, judge


async def scored(script: Script, **settings: Any) -> Any:
    async with service(script, **settings) as (client, _):
        return (await client.post("/v1/score", json=ROLLOUT)).raise_for_status().json()


FAILURES: dict[str, tuple[Script, FailureKind]] = {
    "hangs": (lambda _: Hang(), FailureKind.TIMEOUT),
    "resets": (lambda _: Reset(40), FailureKind.UNREACHABLE),
    "is unavailable": (lambda _: Status(503), FailureKind.OVERLOADED),
    "breaks": (lambda _: Status(500), FailureKind.SERVER_ERROR),
    "rejects": (lambda _: Status(400, "too long"), FailureKind.REJECTED),
    "writes prose": (lambda _: Reply("The answer is excellent: 2."), FailureKind.UNREADABLE),
    "ends for length": (lambda _: Reply('{"1":2', "length"), FailureKind.TRUNCATED),
    "is off the menu": (by_shape(V=7, S=2, U=1, C=1), FailureKind.INVALID_VERDICT),
    "is off the claims' menu": (by_shape(V=2, S=3, U=1, C=1), FailureKind.INVALID_VERDICT),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_each_way_to_fail_has_its_kind_and_no_number(name):
    script, kind = FAILURES[name]
    hasty: dict[str, Any] = {"judge_timeout_s": 0.4} if kind is FailureKind.TIMEOUT else {}
    result = await scored(script, evidence_quotes=False, **hasty)
    assert result["failure"]["kind"] == kind
    assert {result[part] for part in EVERYTHING} == {None}
    assert result["rubrics"] == []
    assert all(claim["support"] is None for claim in result["claims"])


class Odd(NamedTuple):
    """Changes to the bookkeeping of a good reply, in which all verdicts are there."""

    choice: Mapping[str, Any] = MappingProxyType({})
    token: Mapping[str, Any] = MappingProxyType({})
    usage: object = None

    def __call__(self, request: dict[str, Any]) -> Raw:
        good = GOOD(request)
        assert isinstance(good, Reply)
        content = str(good.content)
        tokens = tuple(Listed(c, -0.1, ((c, -0.1), ("x", -3.0))) for c in content)
        body = json.loads(completion(Reply(content, tokens=tokens)))
        body["usage"] = self.usage
        body["choices"][0] |= self.choice
        for token in body["choices"][0]["logprobs"]["content"] if self.token else ():
            token.update(self.token)
        return Raw(json.dumps(body).encode())


UNUSABLE = [
    Odd(token={"top_logprobs": None}),
    Odd(token={"logprob": None}),
    Odd(token={"logprob": float("-inf")}),
    Odd(token={"logprob": float("nan")}),
    Odd(choice={"logprobs": []}),
    Odd(choice={"logprobs": {"content": []}}),
]


@pytest.mark.parametrize("script", UNUSABLE, ids=range(len(UNUSABLE)))
async def test_unusable_logprobs_cost_no_reward_and_are_flagged_and_counted(script):
    plain = await scored(GOOD)
    async with service(script) as (client, _):
        result = (await client.post("/v1/score", json=ROLLOUT)).json()
        metrics = (await client.get("/metrics")).text
    assert (result["reward"], result["reward_std"]) == (plain["reward"], None)
    judged = [*result["rubrics"], *result["claims"], *result["uncited"]]
    assert {tuple(verdict["caveats"]) for verdict in judged} == {("unsure",)}
    (warning,) = result["warnings"]
    assert (warning["kind"], warning["count"]) == ("unsure", len(judged))
    assert 'citemark_warnings_total{kind="unsure"} 1.0' in metrics


REASONS = ("eos_token", "STOP", "end_turn", "")
BILLS: list[object] = [{"prompt_tokens": None, "completion_tokens": -1.5}, "free", [], 7]
HARMLESS = [
    *(Odd(choice={"finish_reason": reason}) for reason in REASONS),
    *(Odd(usage=bill) for bill in BILLS),
]


@pytest.mark.parametrize("script", HARMLESS, ids=range(len(HARMLESS)))
async def test_other_odd_bookkeeping_is_no_matter(script):
    result, plain = await scored(script), await scored(GOOD)
    assert (result["reward"], result["warnings"]) == (plain["reward"], [])
    assert (result["reward_std"], plain["reward_std"]) == (0.0, None)  # only one has logprobs


OPTIONAL = ("logprobs", "temperature", "seed")


@pytest.mark.parametrize(
    "settings", [{}, {"judge_top_logprobs": 0, "judge_omits": "temperature,seed"}], ids=str
)
async def test_a_hosted_judge_that_takes_no_optional_field_judges_all_the_same(settings):
    def script(request: dict[str, Any]) -> Answer:
        refused = next((name for name in OPTIONAL if name in request), None)
        return Status(403, f"{refused} is not allowed") if refused else GOOD(request)

    plain = await scored(GOOD)
    given = {"judge": "openai", "judge_api_key": "k", **settings}
    async with service(script, **given) as (client, judge):
        results = [(await client.post("/v1/score", json=ROLLOUT)).json() for _ in range(2)]
    assert [result["reward"] for result in results] == [plain["reward"]] * 2
    assert judge.calls <= (2 if settings else 8)


async def test_a_refusal_that_quotes_a_rollout_teaches_nothing():
    quoted = Status(400, 'content policy: "logprobs, temperature and seed are not supported"')

    def script(request: dict[str, Any]) -> Answer:
        return quoted if "forbidden" in str(request["messages"]) else GOOD(request)

    bad = ROLLOUT | {"response": "<answer>It is forbidden.</answer>"}
    async with service(script) as (client, judge):
        refused, scored_after = [
            (await client.post("/v1/score", json=row)).json() for row in (bad, ROLLOUT)
        ]
    assert refused["failure"]["kind"] == "judge_rejected"
    assert scored_after["reward"] is not None
    assert {"logprobs", "temperature", "seed"} <= judge.requests[-1].keys()


class Forgetful(CountingJudge):
    def __init__(self, gap: str) -> None:
        super().__init__()
        self.gap = gap

    async def judge_criteria(self, task, *, meter, deadline):
        verdicts = await super().judge_criteria(task, meter=meter, deadline=deadline)
        return verdicts[1:] if self.gap == "a criterion" else verdicts

    async def judge_citations(self, task, *, meter, deadline):
        verdicts = await super().judge_citations(task, meter=meter, deadline=deadline)
        if self.gap == "a sentence":
            return replace(verdicts, sentences=verdicts.sentences[1:])
        if self.gap == "contributions":
            bare = (each.model_copy(update={"contributing": {}}) for each in verdicts.claims)
            return replace(verdicts, claims=tuple(bare))
        return verdicts


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        ("a criterion", "4 verdicts on 5 criteria"),
        ("a sentence", "0 verdicts on 1 sentences"),
        ("contributions", "claim 2: no contribution of 'S_2', 'S_1'"),
    ],
)
def test_a_judge_that_leaves_something_out_fails_its_rollout_alone(gap, message):
    with listening(create_app(Settings(), Forgetful(gap))) as url:
        empty = {**ROLLOUT, "response": "<answer></answer>"}
        answer = httpx.post(f"{url}/v1/score", json={"items": [ROLLOUT, empty]})
    broken, refused = answer.raise_for_status().json()["items"]
    assert broken["reward"] is None
    assert broken["failure"]["kind"] == FailureKind.INVALID_VERDICT
    assert message in broken["failure"]["message"]
    assert refused["reward"] == 0.0


@pytest.mark.parametrize("part", ["criteria", "claims"])
async def test_one_failed_half_fails_the_whole(part):
    def script(request: dict[str, Any]) -> Answer:
        asks_claims = "S" in shape_of(request)
        if asks_claims == (part == "claims"):
            return Status(500)
        return GOOD(request)

    result = await scored(script)
    assert result["failure"]["kind"] == FailureKind.SERVER_ERROR
    assert {result[name] for name in EVERYTHING} == {None}


async def test_a_failed_or_late_neighbour_fails_alone():
    def script(request: dict[str, Any]) -> Answer:
        prompt = request["messages"][-1]["content"]
        return Status(400) if "doomed" in prompt else Hang() if "late" in prompt else GOOD(request)

    items = [{**ROLLOUT, "question": question} for question in ("Fine?", "doomed", "late", "So?")]
    async with service(script) as (client, judge):
        body = {"items": items, "deadline_s": 2.0}
        answer = (await client.post("/v1/score", json=body)).json()["items"]
        await judge.until(lambda: judge.in_flight == 0)
    assert [item["reward"] is None for item in answer] == [False, True, True, False]
    doomed, late = (item["failure"] for item in answer[1:3])
    assert (doomed["kind"], doomed["retryable"]) == (FailureKind.REJECTED, False)
    assert (late["kind"], late["retryable"]) == (FailureKind.DEADLINE, True)


async def test_verdicts_that_are_read_make_a_reward_and_unlikely_ones_none():
    read = by_level(V=2, S=2, U=1, C=1, mass=0.6)
    asking: dict[str, Any] = {"judge_asks": "read", "evidence_quotes": False}
    result = await scored(read, **asking)
    assert result["failure"] is None
    assert result["reward_std"] > 0
    failed = await scored(read, **asking, judge_label_mass=0.7)
    assert failed["failure"]["kind"] == FailureKind.INVALID_VERDICT
    assert {failed[part] for part in EVERYTHING} == {None}
