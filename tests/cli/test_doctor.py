"""`citemark doctor` against servers that do what the service relies on, and that do not."""

import asyncio

import pytest

from support.command_line import cli
from support.scripted_judge import MODEL, Listed, Reply, always

VERDICTS = '{"1":0,"2":2}'
TOKENS = tuple(Listed(character) for character in VERDICTS)


def well(cached: int | None = None, prompt: int = 4000) -> Reply:
    return Reply(VERDICTS, tokens=TOKENS, prompt_tokens=prompt, cached_tokens=cached)


async def examine(start_judge, reply: Reply, *flags: str, status: int = 0) -> str:
    """What the command prints; it runs its own loop, so in a thread."""
    judge = await start_judge(always(reply))
    run = ("doctor", "--judge-url", judge.url, *flags)
    return (await asyncio.to_thread(cli, *run, status=status)).stdout


@pytest.mark.parametrize(
    ("reply", "state", "count", "said"),
    [
        (well(2500), "ok", 4, "2500 of about"),
        (well(), "look", 1, "does not tell"),
        (well(500), "look", 1, "--enable-prefix-caching"),
        (Reply(VERDICTS, cached_tokens=90), "look", 1, "bare verdicts"),
        (Reply("Shelves of books.", cached_tokens=90), "failed", 1, "grammar"),
    ],
    ids=["good", "silent about its cache", "a cold cache", "no logprobs", "ignores the grammar"],
)
async def test_what_a_server_does_is_found(
    start_judge, reply: Reply, state: str, count: int, said: str
) -> None:
    flags = ("--judge-model", MODEL)
    shown = await examine(start_judge, reply, *flags, status=int(state == "failed"))
    assert shown.count(f" {state} ") == count
    assert said in " ".join(shown.split())


async def test_another_model_than_the_served_one_fails(start_judge) -> None:
    assert MODEL in await examine(start_judge, well(2500), status=1)


def test_no_server_fails(closed_url: str) -> None:
    result = cli("doctor", "--judge-url", f"{closed_url}/v1", status=1)
    assert "judge_unreachable" in result.stdout


def test_a_judge_without_a_server_has_nothing_to_examine() -> None:
    assert "embedded" in cli("doctor").stdout
