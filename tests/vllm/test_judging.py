"""What the service asks of vLLM, vLLM does: grammar for both tasks, logprobs, usage."""

import secrets
import time
from functools import partial

import pytest

from citemark_service.examination import (
    ProbeReport,
    ReadCount,
    State,
    examine,
    probe,
    read_prefix_count,
)
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.examples import EXAMPLE_ROWS
from support.ledger_service import score

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

_MENU = {0.0, 0.5, 1.0}
"""The scores of the digits 0, 1 and 2."""


def test_every_verdict_is_there_and_lies_between_the_digits(service):
    asked = [each for each in EXAMPLE_ROWS if "<answer>" in each["response"]][:5]
    results = score(service, asked)
    assert [result["failure"] for result in results] == [None] * 5
    raw = [rubric["raw"] for result in results for rubric in result["rubrics"]]
    claims = [claim for result in results for claim in result["claims"]]
    supports = [claim["support"] for claim in claims if claim["support"] not in (None, 0.0)]
    assert raw
    assert supports
    for scores in (raw, supports):
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert set(scores) - _MENU, "no score lies between digits: logprobs were not used"
    assert len(set(raw)) > len(_MENU)


def test_a_repeated_rollout_is_told_to_be_mostly_cached(service):
    first, second = (score(service, EXAMPLE_ROWS[:1])[0]["judge"] for _ in range(2))
    assert second["prompt_tokens"] > 0
    assert second["cached_tokens"] >= 0.8 * first["prompt_tokens"]


async def probed(settings: Settings, read_count: ReadCount | None) -> ProbeReport:
    judge = build_judge(settings, Metrics())
    assert isinstance(judge, LanguageJudge)
    try:
        return await probe(
            judge.pool,
            nonce=secrets.token_hex(4),
            read_count=read_count,
            deadline=time.monotonic() + settings.judge_deadline_s,
        )
    finally:
        await judge.aclose()


async def test_the_probe_finds_grammar_logprobs_and_cache(settings):
    report = await probed(settings, None)
    assert report.grammar is None
    assert report.logprobs
    assert report.third.source == "usage"
    assert report.cached_share is not None
    assert report.cached_share > 0.8


async def test_the_counters_agree_with_the_usage(vllm, settings):
    read_count = partial(read_prefix_count, settings.judge_url)
    before = await read_count()
    report = await probed(settings, read_count)
    after = await read_count()
    assert before is not None
    assert after is not None
    assert after.hit - before.hit == (report.second.tokens or 0) + (report.third.tokens or 0)
    queried = after.queried - before.queried
    assert queried == pytest.approx(3 * report.prompt_tokens, rel=0.05)


async def test_a_model_that_vllm_does_not_read_is_found_before_it_judges(hybrid_vllm, settings):
    asking = {"judge_url": hybrid_vllm.base_url, "judge_asks": "read"}
    (found,) = await examine(settings.model_copy(update=asking))
    assert found.state is State.FAILED
    assert "501" in found.seen
    assert "CITEMARK_JUDGE_ASKS=write" in found.seen
