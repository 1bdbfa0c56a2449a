"""`citemark doctor` against servers that do what the service relies on, and that do not."""

import asyncio

import pytest

from support.command_line import Cli
from support.scripted_judge import MODEL, Listed, Reply, always

VERDICTS = '{"1":0,"2":2}'
TOKENS = tuple(Listed(character) for character in VERDICTS)
WELL = Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=2500)


async def examine(cli: Cli, judge, *flags: str):
    """The command runs its own loop, so in a thread."""
    return await asyncio.to_thread(cli, "doctor", "--judge-url", judge.url, *flags)


NAMED = ("--judge-model", MODEL)


async def test_a_good_server_passes(cli: Cli, start_judge) -> None:
    result = await examine(cli, await start_judge(always(WELL)), *NAMED)
    assert result.exit_code == 0, result.output
    assert result.stdout.count(" ok ") == 4
    assert "2500 of about" in result.stdout


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(VERDICTS, tokens=TOKENS), "does not tell"),
        (
            Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=500),
            "--enable-prefix-caching",
        ),
        (Reply(VERDICTS, cached_tokens=90), "bare verdicts"),
    ],
    ids=["silent about its cache", "a cold cache", "no logprobs"],
)
async def test_what_only_costs_money_or_detail_is_pointed_out(
    cli: Cli, start_judge, reply: Reply, said: str
) -> None:
    result = await examine(cli, await start_judge(always(reply)), *NAMED)
    assert result.exit_code == 0, result.output
    assert result.stdout.count(" look ") == 1
    assert said in " ".join(result.stdout.split())


async def test_a_server_that_ignores_the_grammar_fails(cli: Cli, start_judge) -> None:
    judge = await start_judge(always(Reply("Shelves of books.", cached_tokens=90)))
    result = await examine(cli, judge, *NAMED)
    assert result.exit_code == 1
    assert "grammar" in result.stdout
    assert " failed " in result.stdout


def test_no_server_fails(cli: Cli, closed_url: str) -> None:
    result = cli("doctor", "--judge-url", f"{closed_url}/v1")
    assert result.exit_code == 1
    assert "judge_unreachable" in result.stdout


async def test_another_model_than_the_served_one_fails(cli: Cli, start_judge) -> None:
    result = await examine(cli, await start_judge(always(WELL)))
    assert result.exit_code == 1
    assert MODEL in result.stdout


def test_a_judge_without_a_server_has_nothing_to_examine(cli: Cli) -> None:
    result = cli("doctor")
    assert result.exit_code == 0
    assert "embedded" in result.stdout
