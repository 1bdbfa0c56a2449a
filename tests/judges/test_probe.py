"""The probe against servers that keep the grammar, ignore it, cache, and do not."""

import itertools

import pytest

from citemark_service.errors import JudgeUnreachable
from citemark_service.examination.probe import (
    CachedTokens,
    PrefixCount,
    ProbeReport,
    ReadCount,
    probe,
)
from support.pooled_judge import pooled
from support.scripted_judge import Listed, Reply, ScriptedJudge, always, in_turn

VERDICTS = '{"1":0,"2":2}'


def counting(*counts: PrefixCount | None) -> ReadCount:
    """Give the counts in turn, over and over."""
    coming = itertools.cycle(counts)

    async def read_count() -> PrefixCount | None:
        return next(coming)

    return read_count


async def probed(judge: ScriptedJudge, read_count: ReadCount | None = None) -> ProbeReport:
    async with pooled([judge], attempts=1) as pool:
        return await probe(pool, nonce="n0", read_count=read_count, deadline=None)


async def test_a_server_that_does_all_of_it(start_judge) -> None:
    tokens = tuple(Listed(character) for character in VERDICTS)
    cold = Reply(VERDICTS, tokens=tokens, prompt_tokens=4000, cached_tokens=0)
    warm = Reply(VERDICTS, tokens=tokens, prompt_tokens=4000, cached_tokens=2400)
    report = await probed(await start_judge(in_turn(cold, cold, warm)))
    assert report.grammar is None
    assert report.logprobs
    assert report.second == CachedTokens()
    assert report.third == CachedTokens(2400, "usage")
    assert report.cached_share == pytest.approx(2400 / report.shared_tokens)
    assert 0.5 < report.shared_tokens / report.prompt_tokens < 0.75


@pytest.mark.parametrize(
    "reply",
    [
        Reply("The first shelf is long."),
        Reply('{"1":0}'),
        Reply('{"1":0,"2":3}'),
        Reply(VERDICTS[:8], finish_reason="length"),
    ],
    ids=["prose", "a verdict missing", "off the menu", "cut"],
)
async def test_any_reply_tells_that_the_grammar_is_ignored(start_judge, reply: Reply) -> None:
    good = Reply(VERDICTS)
    for turns in ((reply, good, good), (good, reply, good), (good, good, reply)):
        assert (await probed(await start_judge(in_turn(*turns)))).grammar


async def test_the_calls_share_a_beginning_and_ask_for_prose_under_a_grammar(start_judge) -> None:
    judge = await start_judge(always(Reply(VERDICTS)))
    await probed(judge)
    contents = [request["messages"][-1]["content"] for request in judge.requests]
    columns = enumerate(zip(*contents, strict=False))
    common = next(n for n, characters in columns if len(set(characters)) > 1)
    assert len(set(contents)) == 3
    assert 0.5 < common / len(contents[0]) < 0.75
    assert all("prose" in content and "{" not in content for content in contents)
    assert all("regex" in request["structured_outputs"] for request in judge.requests)


async def test_the_counters_are_asked_where_the_usage_is_silent(start_judge) -> None:
    judge = await start_judge(always(Reply(VERDICTS, prompt_tokens=4000)))
    counts = [(0, 0), (4000, 0), (4000, 0), (8000, 100), (9000, 100), (13000, 2100)]
    report = await probed(judge, counting(*(PrefixCount(*count) for count in counts)))
    assert report.second == CachedTokens(100, "metrics")
    assert report.third == CachedTokens(2000, "metrics")


@pytest.mark.parametrize(
    "read_count",
    [
        None,
        counting(None, None),
        counting(PrefixCount(0, 0), None),
        counting(PrefixCount(0, 0), PrefixCount(4001, 2000)),
    ],
    ids=["none", "not vLLM", "gone", "other traffic"],
)
async def test_what_is_not_known_is_not_told(start_judge, read_count: ReadCount | None) -> None:
    judge = await start_judge(always(Reply(VERDICTS, prompt_tokens=4000)))
    report = await probed(judge, read_count)
    assert report.third == CachedTokens()
    assert report.cached_share is None


async def test_a_judge_that_is_not_there_raises(start_judge) -> None:
    judge = await start_judge(always(Reply(VERDICTS)))
    await judge.refuse()
    with pytest.raises(JudgeUnreachable):
        await probed(judge)
