"""`citemark serve` as a process, with a server as its judge."""

import asyncio
import re
import signal
import subprocess
import threading

import httpx
import pytest

from support.command_line import Start
from support.judge_tasks import by_shape
from support.scripted_judge import MODEL, Reply, ScriptedJudge, always

ROLLOUT = {
    "question": "How long is the Orm viaduct?",
    "tool_output": "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>",
    "response": "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>",
    "positive_rubrics": ["States the length."],
}


def awaited(process: subprocess.Popen[str], pattern: str) -> str:
    """The first group of the first line of the log that has the pattern; blocks."""
    assert process.stderr is not None
    patience = threading.Timer(60.0, process.kill)  # which ends the log too
    patience.start()
    try:
        for line in process.stderr:
            if found := re.search(pattern, line):
                return found[1]
    finally:
        patience.cancel()
    raise AssertionError(f"the service ended without saying {pattern}")


def serving(start: Start, judge: ScriptedJudge) -> subprocess.Popen[str]:
    flags = ("--judge", "vllm", "--judge-url", judge.url, "--judge-model", MODEL)
    return start("serve", "--port", "0", *flags)


async def test_serve_probes_its_judge_and_says_what_it_found(start: Start, start_judge) -> None:
    judge = await start_judge(always(Reply("Shelves of books.")))
    process = serving(start, judge)
    said = await asyncio.to_thread(awaited, process, r"ERROR citemark.probe .* (\w+) failed: ")
    assert said == "grammar"
    assert judge.calls == 3


async def test_serve_does_not_probe_where_that_is_off(
    start: Start, start_judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITEMARK_PROBE_AT_START", "false")
    judge = await start_judge(by_shape(V=2, S=2, U=1, C=1))
    process = serving(start, judge)
    said = await asyncio.to_thread(awaited, process, r"serving on (.+)")
    url, _, who = said.partition(" with ")
    assert who == f"judge vllm, model {MODEL}, at {judge.url}"
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as client:
        result = (await client.post(f"{url}/v1/score", json=ROLLOUT)).json()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 60.0) == 0
    assert judge.calls == result["judge"]["calls"] == 2
