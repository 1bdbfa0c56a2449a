"""How much of what the samples of a group share is found in vLLM's prefix cache.

Shareable is what a prompt has in common with an earlier prompt of the group, in tokens of the
model, from the first token on: more cannot be cached, whatever the server does.

Of a hybrid model vLLM keeps the recurrent state only where a step of its scheduler ends, and
where a second prompt parts from a first one. So without priming a group's second sample finds
nothing. A prime leaves the state of its last block, which is found only where the prime ends soon
after it, unless `--prefix-match-unit` lets matches end within a block.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from os.path import commonprefix
from typing import Any

import pytest

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.server.pool import to_prime
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.vllm_server import VllmServer

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

Send = Callable[[Pipeline, list[Rollout]], Awaitable[None]]


def group(nonce: str) -> list[Rollout]:
    """Eight samples of a question that no earlier group has had."""
    sources = "\n".join(
        f"<snippet id=S{n}>Survey {nonce}, part {n}. The gauge at mile {3 * n} of the Tarn rose by "
        f"{n * n + 7} centimetres in the week after the storm, fell by {n + 2} in the next, and "
        f"was read {n + 4} times a day by two wardens.</snippet>"
        for n in range(24)
    )
    return [
        Rollout(
            id=str(n),
            question=f"How did the Tarn's gauges behave after the storm in survey {nonce}?",
            tool_output=sources,
            response=f"<answer><snippet id=S{n}>At mile {3 * n} the gauge rose by {n * n + 7} "
            f"centimetres.</snippet> <snippet id=S{other}>It was read {other + 4} times a day at "
            f"mile {3 * other}.</snippet></answer>",
            positive_rubrics=["Gives a rise in centimetres.", "Names the mile of each gauge."],
        )
        for n, other in ((n, (5 * n + 3) % 24) for n in range(8))
    ]


async def at_once(pipeline: Pipeline, samples: list[Rollout]) -> None:
    """As a trainer's batch arrives."""
    results = await asyncio.gather(
        *(pipeline.score(each, request=Knobs(), position=0, deadline=None) for each in samples)
    )
    assert [result.failure for result in results] == [None] * len(samples)


async def after_the_first(pipeline: Pipeline, samples: list[Rollout]) -> None:
    """One sample leads, the others follow it."""
    await at_once(pipeline, samples[:1])
    await at_once(pipeline, samples[1:])


@dataclass(frozen=True)
class Measured:
    """Tokens of a group's prompts, and how long they took."""

    calls: int
    seconds: float
    sent: int
    shareable: int
    hit: int


def count_shareable(prompts: list[list[int]]) -> int:
    """Over all prompts, the longest beginning that an earlier one has as well."""

    return sum(
        max((len(commonprefix([prompt, one])) for one in prompts[:number]), default=0)  # noqa: RUF071
        for number, prompt in enumerate(prompts)
    )


@dataclass(frozen=True)
class Spent:
    requests: list[ChatRequest]
    seconds: float
    rise: dict[str, int]
    """Of vLLM's counters, without their prefix and suffix."""


async def spend(vllm: VllmServer, settings: Settings, send: Send) -> Spent:
    """Score a new group on a cold cache."""
    vllm.client.post("/reset_prefix_cache").raise_for_status()
    # A small model invents quotes, and each would cost another call.
    quoteless = settings.model_copy(update={"evidence_quotes": False})
    judge = build_judge(quoteless, Metrics())
    assert isinstance(judge, LanguageJudge)
    requests: list[ChatRequest] = []
    complete = judge.pool.complete

    async def record(request: ChatRequest, **options: Any) -> ChatReply:
        requests.append(request)
        return await complete(request, **options)

    judge.pool.complete = record  # type: ignore[method-assign]
    pipeline = Pipeline(judge=judge, library=load_library(), settings=quoteless, metrics=Metrics())
    before, start = vllm.counters(), time.monotonic()
    try:
        await send(pipeline, group(secrets.token_hex(3)))
    finally:
        await judge.aclose()
    after, seconds = vllm.counters(), time.monotonic() - start
    rise = {
        name.removeprefix("vllm:").removesuffix("_total"): int(count - before.get(name, 0.0))
        for name, count in after.items()
        if name.endswith("_total")
    }
    return Spent(requests, round(seconds, 1), rise)


async def measure(vllm: VllmServer, settings: Settings, send: Send) -> Measured:
    """Score a new group on a cold cache and count."""
    spent = await spend(vllm, settings, send)
    requests = spent.requests
    if settings.prime_prefix:  # the service sends a prime ahead of each group's first request
        firsts = {each.affinity: each for each in reversed(requests) if each.shared}
        requests = [*map(to_prime, firsts.values()), *requests]
    prompts = [
        vllm.tokens([asdict(message) for message in each.messages], open_ended=each.open_ended)
        for each in requests
    ]
    sent = sum(map(len, prompts))
    assert spent.rise["prefix_cache_queries"] == sent
    hit = spent.rise["prefix_cache_hits"]
    return Measured(len(prompts), spent.seconds, sent, count_shareable(prompts), hit)


@pytest.mark.parametrize(
    ("server", "send", "prime", "bar"),
    [
        ("vllm", at_once, False, 0.8),
        ("vllm", after_the_first, False, 0.8),
        ("hybrid_vllm", at_once, False, 0.7),
        ("hybrid_vllm", at_once, True, 0.9),
    ],
)
async def test_a_group_finds_its_prefix_in_the_cache(
    request, settings, *, server, send, prime, bar
):
    vllm: VllmServer = request.getfixturevalue(server)
    asking = {"judge_url": vllm.base_url, "prime_prefix": prime, "prime_wait_s": 60.0}
    found = await measure(vllm, settings.model_copy(update=asking), send)
    share = found.hit / found.shareable
    request.node.user_properties.append(("vllm", f"{share:.1%} of what is shareable; {found}"))
    assert share >= bar


async def test_a_group_can_be_read_for_one_token_a_question(request, vllm, settings):
    decoded = {}
    for asks in ("write", "read"):
        # A model that is not clever would rather say something else.
        asking = settings.model_copy(update={"judge_asks": asks, "judge_label_mass": 0.0})
        spent = await spend(vllm, asking, at_once)
        decoded[asks], sent = spent.rise["generation_tokens"], spent.rise["prompt_tokens"]
        hit = spent.rise["prefix_cache_hits"]
        told = (
            f"{asks}: {len(spent.requests)} calls, {spent.rise['request_success']} requests, "
            f"{sent} prompt tokens, {hit} of them cached, {decoded[asks]} decoded, "
            f"{spent.seconds} s"
        )
        request.node.user_properties.append(("vllm", told))
        questions = sum(len(each.questions) for each in spent.requests)
        assert hit / sent > 0.7
    assert decoded["read"] == questions == spent.rise["request_success"]
    assert decoded["read"] < decoded["write"]


def test_shareable_counts_the_longest_beginning_of_each():
    assert count_shareable([[1, 2, 3], [1, 2, 4], [1, 2, 4, 5], [9]]) == 2 + 3
