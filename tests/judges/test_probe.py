"""The probe: servers that keep the grammar, ignore it, cache, and do not; vLLM's counters."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from citemark_service.examination import (
    CachedTokens,
    PrefixCount,
    ProbeReport,
    ReadCount,
    State,
    examine,
    parse_prefix_count,
    probe,
    read_prefix_count,
)
from support.judge_tasks import by_level
from support.pooled_judge import pooled
from support.scripted_judge import Listed, Reply, ScriptedJudge, Status, always, in_turn
from support.scripted_service import listening

VERDICTS = '{"1":0,"2":2}'


def counting(*counts: tuple[int, int] | None) -> ReadCount:
    coming = itertools.cycle(count and PrefixCount(*count) for count in counts)

    async def read_count() -> PrefixCount | None:
        return next(coming)

    return read_count


async def probed(judge: ScriptedJudge, read_count: ReadCount | None = None) -> ProbeReport:
    async with pooled([judge], attempts=1) as pool:
        return await probe(pool, nonce="n0", read_count=read_count, deadline=None)


async def test_a_server_that_does_all_of_it(start_judge):
    tokens = tuple(Listed(character) for character in VERDICTS)
    cold, warm = (
        Reply(VERDICTS, tokens=tokens, prompt_tokens=4000, cached_tokens=cached)
        for cached in (0, 2400)
    )
    report = await probed(await start_judge(in_turn(cold, cold, warm)))
    assert report.grammar is None
    assert report.logprobs
    assert report.second == CachedTokens()
    assert report.third == CachedTokens(2400, "usage")
    assert report.cached_share == pytest.approx(2400 / report.shared_tokens)
    assert 0.5 < report.shared_tokens / report.prompt_tokens < 0.75


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(
    "bad", [Reply("The first shelf is long."), Reply(VERDICTS[:8], finish_reason="length")]
)
async def test_any_reply_tells_that_the_grammar_is_ignored(start_judge, bad, place):
    turns = [bad if at == place else Reply(VERDICTS) for at in range(3)]
    assert (await probed(await start_judge(in_turn(*turns)))).grammar


async def test_the_calls_share_a_beginning_and_ask_for_prose_under_a_grammar(start_judge):
    judge = await start_judge(always(Reply(VERDICTS)))
    await probed(judge)
    contents = [request["messages"][-1]["content"] for request in judge.requests]
    columns = enumerate(zip(*contents, strict=False))
    common = next(n for n, characters in columns if len(set(characters)) > 1)
    assert len(set(contents)) == 3
    assert 0.5 < common / len(contents[0]) < 0.75
    assert all("prose" in content and "{" not in content for content in contents)
    assert all("regex" in request["structured_outputs"] for request in judge.requests)


@pytest.mark.parametrize(
    ("script", "aspect", "state", "said"),
    [
        (by_level(V=1), "grammar", State.OK, "levels"),
        (by_level(V=1, mass=0.2), "grammar", State.FAILED, "1.0 has 0.2 of the probability"),
        (always(Status(404, "Not Found")), "judge", State.FAILED, "ASKS=write has them written"),
    ],
)
async def test_a_server_to_be_read_is_probed_by_readings(start_judge, script, aspect, state, said):
    judge = await start_judge(script)
    findings = await examine(judge.settings(judge_asks="read", judge_attempts=1))
    found = {each.aspect: each for each in findings}
    assert found[aspect].state is state
    assert said in found[aspect].seen
    assert "logprobs" not in found or found["logprobs"].works
    assert all("questions" in request for request in judge.requests)


TURNS = counting((0, 0), (4000, 0), (4000, 0), (8000, 100), (9000, 100), (13000, 2100))


@pytest.mark.parametrize(
    ("read_count", "second", "third"),
    [
        (TURNS, CachedTokens(100, "metrics"), CachedTokens(2000, "metrics")),
        (None, CachedTokens(), CachedTokens()),
        (counting(None, None), CachedTokens(), CachedTokens()),
        (counting((0, 0), None), CachedTokens(), CachedTokens()),
        (counting((0, 0), (4001, 2000)), CachedTokens(), CachedTokens()),
    ],
    ids=["counted", "none", "not vLLM", "gone", "other traffic"],
)
async def test_where_the_usage_is_silent_the_counters_are_asked(
    start_judge, read_count, second, third
):
    judge = await start_judge(always(Reply(VERDICTS, prompt_tokens=4000)))
    report = await probed(judge, read_count)
    assert (report.second, report.third) == (second, third)
    assert (report.cached_share is None) == (third.tokens is None)


EXPOSITION = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="judge"} 1.2e+03
vllm:prefix_cache_queries_total{engine="1",model_name="judge"} 34.0
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="judge"} 1.79e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="judge"} 800.0
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="judge"} 0.0
"""


@pytest.mark.parametrize(
    ("status", "body", "count"),
    [
        (200, EXPOSITION, PrefixCount(queried=1234, hit=800)),
        (404, EXPOSITION, None),
        (200, "<html>", None),
        (200, "up 1\n", None),
        (200, "", None),
    ],
)
async def test_the_counters_of_all_engines_are_added_up(status, body, count):
    metrics = Route("/metrics", lambda _: Response(body, status))
    with listening(Starlette(routes=[metrics])) as url:
        assert await read_prefix_count(f"{url}/v1") == count
    assert await read_prefix_count(f"{url}/v1", timeout_s=2.0) is None  # nobody listens any more


@given(st.text(alphabet='vlm:_{}",=#\n 1eNaInf\\') | st.text())
def test_no_text_is_too_odd(text):
    assert parse_prefix_count(text) is None
    found = parse_prefix_count(EXPOSITION + text)
    assert found is None or found.hit >= 800 or "hits" in text
