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

import pytest

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.server.pool import JudgePool, to_prime
from citemark_service.judges.tasks import Meter
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.vllm_server import MODEL, VllmServer

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

GROUP = 8


class Recording(JudgePool):
    """Passes requests on to another pool and keeps them in the order of their departure."""

    def __init__(self, pool: JudgePool) -> None:
        self.requests: list[ChatRequest] = []
        self._pool = pool

    async def complete(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        self.requests.append(request)
        return await self._pool.complete(request, meter=meter, deadline=deadline)


def group(nonce: str) -> list[Rollout]:
    """Eight samples of a question that no earlier group has had."""
    sources = "\n".join(
        f"<snippet id=S{n}>Survey {nonce}, part {n}. The gauge at mile {3 * n} of the Tarn rose by "
        f"{n * n + 7} centimetres in the week after the storm, fell by {n + 2} in the next, and "
        f"was read {n + 4} times a day by two wardens.</snippet>"
        for n in range(24)
    )
    return [_sample(nonce, sources, number) for number in range(GROUP)]


def _sample(nonce: str, sources: str, number: int) -> Rollout:
    first, second = number, (5 * number + 3) % 24
    return Rollout(
        id=str(number),
        question=f"How did the Tarn's gauges behave after the storm in survey {nonce}?",
        tool_output=sources,
        response=(
            f"<answer><snippet id=S{first}>At mile {3 * first} the gauge rose by "
            f"{first * first + 7} centimetres.</snippet> <snippet id=S{second}>It was read "
            f"{second + 4} times a day at mile {3 * second}.</snippet></answer>"
        ),
        positive_rubrics=["Gives a rise in centimetres.", "Names the mile of each gauge."],
    )


Send = Callable[[Pipeline, list[Rollout]], Awaitable[None]]
Record = Callable[[str, object], None]


async def at_once(pipeline: Pipeline, samples: list[Rollout]) -> None:
    """As a trainer's batch arrives."""
    await asyncio.gather(*(_scored(pipeline, sample) for sample in samples))


async def after_the_first(pipeline: Pipeline, samples: list[Rollout]) -> None:
    """One sample leads, the others follow it."""
    await _scored(pipeline, samples[0])
    await at_once(pipeline, samples[1:])


async def _scored(pipeline: Pipeline, sample: Rollout) -> None:
    result = await pipeline.score(sample, request=Knobs(), position=0, deadline=None)
    assert result.failure is None


@dataclass(frozen=True)
class Measured:
    """Tokens of a group's prompts, and how long they took."""

    calls: int
    seconds: float
    sent: int
    shareable: int
    hit: int

    @property
    def share(self) -> float:
        """Of the shareable tokens, what was hit."""
        return self.hit / self.shareable

    @property
    def told(self) -> str:
        """For the summary of the test run."""
        return f"{self.share:.1%} of what is shareable; {self}"


def shareable(prompts: list[list[int]]) -> int:
    """Over all prompts, the longest beginning that an earlier one has as well."""
    return sum(
        max((_common(prompt, earlier) for earlier in prompts[:number]), default=0)
        for number, prompt in enumerate(prompts)
    )


def _common(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


async def measured(vllm: VllmServer, settings: Settings, send: Send) -> Measured:
    """Score a new group on a cold cache and count."""
    vllm.forget_prefixes()
    judge = build_judge(settings, Metrics())
    assert isinstance(judge, LanguageJudge)
    recording = Recording(judge.pool)
    before, start = vllm.counters(), time.monotonic()
    try:
        await send(_pipeline(settings, recording), group(secrets.token_hex(3)))
    finally:
        await judge.aclose()
    after, seconds = vllm.counters(), time.monotonic() - start
    sent = recording.requests if not settings.prime_prefix else with_primes(recording.requests)
    prompts = [
        vllm.tokens([asdict(message) for message in each.messages], open_ended=each.open_ended)
        for each in sent
    ]
    name = "vllm:prefix_cache_{}_total".format
    assert after[name("queries")] - before[name("queries")] == sum(map(len, prompts))
    return Measured(
        calls=len(prompts),
        seconds=round(seconds, 1),
        sent=sum(map(len, prompts)),
        shareable=shareable(prompts),
        hit=int(after[name("hits")] - before[name("hits")]),
    )


def with_primes(requests: list[ChatRequest]) -> list[ChatRequest]:
    """The requests, each group's first one after the prime that the service sends ahead of it."""
    primed: dict[str, ChatRequest] = {}
    for request in requests:
        if request.shared:
            primed.setdefault(request.affinity, to_prime(request))
    return [*primed.values(), *requests]


def _pipeline(settings: Settings, pool: JudgePool) -> Pipeline:
    judge = LanguageJudge(
        pool,
        model=MODEL,
        writer=PromptWriter(secret=secrets.token_bytes(8)),
        metrics=Metrics(),
        evidence_quotes=False,  # a small model invents them, and each would cost another call
    )
    return Pipeline(judge=judge, library=load_library(), settings=settings, metrics=Metrics())


@pytest.mark.parametrize("send", [at_once, after_the_first])
async def test_a_group_finds_its_prefix_in_the_cache(
    vllm: VllmServer, settings: Settings, send: Send, record_property: Record
) -> None:
    found = await measured(vllm, settings, send)
    record_property("vllm", found.told)
    assert found.share >= 0.8


@pytest.mark.parametrize(("prime", "bar"), [(False, 0.7), (True, 0.9)])
async def test_a_group_finds_it_in_a_hybrid_model_too(
    hybrid_vllm: VllmServer, settings: Settings, prime: bool, bar: float, record_property: Record
) -> None:
    to_hybrid = {"judge_url": hybrid_vllm.base_url, "prime_prefix": prime, "prime_wait_s": 60.0}
    found = await measured(hybrid_vllm, settings.model_copy(update=to_hybrid), at_once)
    record_property("vllm", found.told)
    assert found.share >= bar


def test_shareable_counts_the_longest_beginning_of_each() -> None:
    assert shareable([[1, 2, 3], [1, 2, 4], [1, 2, 4, 5], [9]]) == 2 + 3
