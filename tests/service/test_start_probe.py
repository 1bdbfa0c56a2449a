"""The probe at start-up: what the servers do is told, and the service serves all the while."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_service.examination import probing, start_probe
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics
from support.judge_tasks import filled, shape_of
from support.scripted_judge import (
    Answer,
    Hang,
    Listed,
    Reply,
    Script,
    ScriptedJudge,
    Status,
    always,
)
from support.scripted_service import async_client_of, real_app
from support.waiting import until

VERDICTS = '{"1":0,"2":2}'
TOKENS = tuple(Listed(character) for character in VERDICTS)
WELL = Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=2500)
COLD = Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=500)
PROSE = Reply("Shelves of books.", tokens=(Listed("Shelves of books."),), cached_tokens=90)
PROBED = "Describe the first shelf"


def obeying(probed: Answer) -> Script:
    def script(request: dict[str, Any]) -> Answer:
        if PROBED in request["messages"][-1]["content"]:
            return probed
        return Reply(filled(shape_of(request), V=2, S=2, U=1, C=1))

    return script


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """`log()`, `log(logging.ERROR)`: what the probe has logged so far, at this level."""
    caplog.set_level(logging.INFO, "citemark.probe")

    def lines(level: int | None = None) -> list[str]:
        mine = [record for record in caplog.records if record.name == "citemark.probe"]
        return [record.getMessage() for record in mine if level in (None, record.levelno)]

    return lines


@dataclass
class Probed:
    client: httpx.AsyncClient
    metrics: Metrics

    def gauge(self, judge: ScriptedJudge, aspect: str) -> float | None:
        """1, 0, or None where nothing is known."""
        labels = {"server": name_of(judge), "aspect": aspect}
        return self.metrics.registry.get_sample_value("citemark_judge_probe", labels)

    async def status(self, path: str) -> int:
        return (await self.client.get(path)).status_code


def name_of(judge: ScriptedJudge) -> str:
    return httpx.URL(judge.url).netloc.decode()


@asynccontextmanager
async def served(*judges: ScriptedJudge, patience_s: float = 60.0) -> AsyncIterator[Probed]:
    urls = tuple(judge.url for judge in judges)
    table, metrics = judges[0].settings(judge_urls=urls), Metrics()
    probe = probing(table, metrics, patience_s=patience_s)
    async with async_client_of(real_app(table, metrics, beside=probe)) as client:
        yield Probed(client, metrics)


async def test_each_server_is_examined_by_itself_while_the_service_serves(
    start_judge, rollout, log
):
    good, bad = await start_judge(obeying(WELL)), await start_judge(obeying(PROSE))
    async with served(good, bad) as service:
        await until(lambda: len(log()) == 8)
        assert (good.calls, bad.calls) == (3, 3)
        aspects = ("grammar", "logprobs", "prefix_cache")
        assert [service.gauge(good, aspect) for aspect in aspects] == [1, 1, 1]
        assert sum(line.startswith(name_of(good)) for line in log(logging.INFO)) == 4
        assert service.gauge(bad, "grammar") == 0
        (line,) = log(logging.ERROR)
        assert line.startswith(name_of(bad))
        assert "reasoning parser" in line
        assert await service.status("/readyz") == 200
        result = (await service.client.post("/v1/score", json=rollout())).json()
        assert result["reward"] > 0
        assert "citemark_judge_probe{" in (await service.client.get("/metrics")).text


@pytest.mark.parametrize(
    ("reply", "aspect", "gauge", "said"),
    [
        (COLD, "prefix_cache", 0, "--enable-prefix-caching"),
        (Reply(VERDICTS, tokens=TOKENS), "prefix_cache", None, "--enable-prompt-tokens-details"),
        (Reply(VERDICTS, cached_tokens=90), "logprobs", 0, "bare verdicts"),
    ],
    ids=["a cold cache", "silent about its cache", "no logprobs"],
)
async def test_what_only_costs_money_or_detail_is_a_warning(
    start_judge, log, *, reply, aspect, gauge, said
):
    judge = await start_judge(obeying(reply))
    async with served(judge) as service:
        await until(lambda: len(log()) == 4)
        assert service.gauge(judge, aspect) == gauge
    (line,) = log(logging.WARNING)
    assert said in line
    assert log(logging.ERROR) == []


async def test_a_judge_that_comes_up_late_is_probed_then(start_judge, log):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served(judge) as service:
        assert await service.status("/healthz") == 200
        assert await service.status("/readyz") == 503
        assert log() == []
        await judge.listen()
        await until(lambda: len(log()) == 4)
        assert service.gauge(judge, "prefix_cache") == 1


async def test_a_judge_that_never_comes_up_is_given_up_in_one_line(start_judge, log):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served(judge, patience_s=0.2) as service:
        await until(log)
        assert service.gauge(judge, "grammar") is None
        assert await service.status("/healthz") == 200
    (line,) = log()
    assert log(logging.ERROR) == [line]
    assert "judge_unreachable" in line
    assert "CITEMARK_JUDGE_URL" in line


async def test_a_server_of_another_model_is_not_waited_for(start_judge, log):
    judge = await start_judge(obeying(WELL))
    judge.models = ("another\nERROR forged",)
    judge.script = always(Status(404))
    async with served(judge):
        await until(log)
    (line,) = log(logging.ERROR)
    assert "CITEMARK_JUDGE_MODEL" in line
    assert "\n" not in line
    assert judge.calls == 1


async def test_an_alias_that_the_server_does_not_list_is_ready_and_probed(start_judge, log):
    judge = await start_judge(obeying(WELL))
    judge.models = ("another",)
    async with served(judge) as service:
        await until(lambda: len(log()) == 4)
        assert await service.status("/readyz") == 200
    assert log(logging.ERROR) == []


async def test_stopping_while_a_judge_is_waited_for_is_quiet(start_judge, log):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served(judge) as service:
        assert await service.status("/healthz") == 200
    assert log() == []


async def test_stopping_in_the_middle_of_a_call_ends_the_call(start_judge, log):
    judge = await start_judge(always(Hang()))
    async with served(judge):
        await judge.until(lambda: judge.in_flight == 1)
    await judge.until(lambda: judge.in_flight == 0)
    assert judge.abandoned == judge.calls == 1
    assert log() == []


async def test_a_probe_that_breaks_is_logged_and_raises_nothing(caplog):
    async with probing(Settings(judge="vllm", judge_url="ftp://a/v1"), Metrics()):
        await until(lambda: bool(caplog.records))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "ftp://a/v1" in str(record.exc_info)


def test_only_servers_are_probed():
    probed = {judge for judge in JUDGES if start_probe(Settings(judge=judge), Metrics())}
    assert probed == {"vllm", "openai"}
