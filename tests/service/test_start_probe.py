"""The probe at start-up: what the servers do is told, and the service serves all the while."""

import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.examination.server import StartProbe, start_probe
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.judge_tasks import filled, shape_of
from support.scripted_judge import MODEL, Answer, Hang, Listed, Reply, Script, ScriptedJudge, always
from support.scripted_service import listening
from support.waiting import until

VERDICTS = '{"1":0,"2":2}'
TOKENS = tuple(Listed(character) for character in VERDICTS)
WELL = Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=2500)
PROSE = Reply("Shelves of books.", tokens=(Listed("Shelves of books."),), cached_tokens=90)
PROBED = "Describe the first shelf"


def obeying(probed: Answer) -> Script:
    """Verdicts for rollouts, and this for the probe."""

    def script(request: dict[str, Any]) -> Answer:
        if PROBED in request["messages"][-1]["content"]:
            return probed
        return Reply(filled(shape_of(request), V=2, S=2, U=1, C=1))

    return script


@dataclass
class Probed:
    """A running service and what its probe has told so far."""

    client: httpx.AsyncClient
    metrics: Metrics
    log: list[logging.LogRecord]

    def gauge(self, judge: ScriptedJudge, aspect: str) -> float | None:
        """1, 0, or None where nothing is known."""
        labels = {"server": name_of(judge), "aspect": aspect}
        return self.metrics.registry.get_sample_value("citemark_judge_probe", labels)

    def lines(self, level: int) -> list[str]:
        """What was logged at this level."""
        return [record.getMessage() for record in self.log if record.levelno == level]

    async def told(self, findings: int) -> None:
        """Wait until the probe has logged so many lines."""
        await until(lambda: len(self.log) >= findings)


def name_of(judge: ScriptedJudge) -> str:
    return httpx.URL(judge.url).netloc.decode()


class Kept(logging.Handler):
    """Keeps every record."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def collected() -> Iterator[list[logging.LogRecord]]:
    """The records of the probe's logger."""
    handler = Kept()
    logger = logging.getLogger("citemark.probe")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@asynccontextmanager
async def served(
    judges: Sequence[ScriptedJudge], *, patience_s: float = 60.0, **settings: Any
) -> AsyncIterator[Probed]:
    """The service before those judges, on a real socket, with its probe beside it."""
    urls = tuple(judge.url for judge in judges)
    table = Settings(judge="vllm", judge_model=MODEL, judge_urls=urls, **settings)
    metrics = Metrics()
    probe = StartProbe(table, metrics, patience_s=patience_s)
    app = create_app(
        settings=table,
        judge=build_judge(table, metrics),
        metrics=metrics,
        beside=probe,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with collected() as log, listening(app, listener):
        async with httpx.AsyncClient(base_url=base, timeout=20.0, trust_env=False) as client:
            yield Probed(client, metrics, log)


async def test_a_server_that_does_all_of_it_is_told_so(start_judge):
    judge = await start_judge(obeying(WELL))
    async with served([judge]) as service:
        await service.told(4)
        aspects = ("grammar", "logprobs", "prefix_cache")
        assert [service.gauge(judge, aspect) for aspect in aspects] == [1, 1, 1]
        assert len(service.lines(logging.INFO)) == len(service.log) == 4
        assert all(line.startswith(name_of(judge)) for line in service.lines(logging.INFO))
        exposed = (await service.client.get("/metrics")).text
    assert "citemark_judge_probe{" in exposed
    assert judge.calls == 3


async def test_a_server_that_ignores_the_grammar_is_an_error_and_the_service_serves(
    start_judge, rollout
):
    judge = await start_judge(obeying(PROSE))
    async with served([judge]) as service:
        await service.told(4)
        assert service.gauge(judge, "grammar") == 0
        (line,) = service.lines(logging.ERROR)
        assert "reasoning parser" in line
        assert (await service.client.get("/readyz")).status_code == 200
        result = (await service.client.post("/v1/score", json=rollout())).json()
    assert result["failure"] is None
    assert result["reward"] > 0


@pytest.mark.parametrize(
    ("reply", "aspect", "gauge", "said"),
    [
        (
            Reply(VERDICTS, tokens=TOKENS, prompt_tokens=4000, cached_tokens=500),
            "prefix_cache",
            0,
            "--enable-prefix-caching",
        ),
        (Reply(VERDICTS, tokens=TOKENS), "prefix_cache", None, "--enable-prompt-tokens-details"),
        (Reply(VERDICTS, cached_tokens=90), "logprobs", 0, "bare verdicts"),
    ],
    ids=["a cold cache", "silent about its cache", "no logprobs"],
)
async def test_what_only_costs_money_or_detail_is_a_warning(
    start_judge, reply, aspect, gauge, said
):
    judge = await start_judge(obeying(reply))
    async with served([judge]) as service:
        await service.told(4)
        assert service.gauge(judge, aspect) == gauge
        (line,) = service.lines(logging.WARNING)
        assert said in line
        assert service.lines(logging.ERROR) == []


async def test_each_server_is_examined_by_itself(start_judge):
    good, bad = await start_judge(obeying(WELL)), await start_judge(obeying(PROSE))
    async with served([good, bad]) as service:
        await service.told(8)
        assert (service.gauge(good, "grammar"), service.gauge(bad, "grammar")) == (1, 0)
    assert (good.calls, bad.calls) == (3, 3)


async def test_a_judge_that_comes_up_late_is_probed_then(start_judge):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served([judge]) as service:
        assert (await service.client.get("/healthz")).status_code == 200
        assert (await service.client.get("/readyz")).status_code == 503
        assert service.log == []
        await judge.listen()
        await service.told(4)
        assert service.gauge(judge, "prefix_cache") == 1


async def test_a_judge_that_never_comes_up_is_given_up_in_one_line(start_judge):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served([judge], patience_s=0.2) as service:
        await service.told(1)
        (line,) = service.lines(logging.ERROR)
        assert "judge_unreachable" in line
        assert "CITEMARK_JUDGE_URL" in line
        assert service.gauge(judge, "grammar") is None
        assert (await service.client.get("/healthz")).status_code == 200
    assert len(service.log) == 1


async def test_a_server_of_another_model_is_not_waited_for(start_judge):
    judge = await start_judge(obeying(WELL))
    judge.models = ("another\nERROR forged",)
    async with served([judge]) as service:
        await service.told(1)
        (line,) = service.lines(logging.ERROR)
    assert "CITEMARK_JUDGE_MODEL" in line
    assert "\n" not in line
    assert judge.calls == 0


async def test_stopping_while_a_judge_is_waited_for_is_quiet(start_judge):
    judge = await start_judge(obeying(WELL))
    await judge.refuse()
    async with served([judge]) as service:
        assert (await service.client.get("/healthz")).status_code == 200
    assert service.log == []


async def test_stopping_in_the_middle_of_a_call_ends_the_call(start_judge):
    judge = await start_judge(always(Hang()))
    async with served([judge]) as service:
        await judge.until(lambda: judge.in_flight == 1)
    await judge.until(lambda: judge.in_flight == 0)
    assert judge.abandoned == judge.calls == 1
    assert service.log == []


async def test_a_probe_that_breaks_is_logged_and_raises_nothing():
    settings = Settings(judge="vllm", judge_url="ftp://a/v1")
    with collected() as log:
        async with StartProbe(settings, Metrics()):
            await until(lambda: bool(log))
    assert [record.levelname for record in log] == ["ERROR"]
    assert "ftp://a/v1" in str(log[0].exc_info)


@pytest.mark.parametrize(
    ("settings", "probed"),
    [
        ({"judge": "vllm"}, True),
        ({"judge": "openai"}, True),
        ({"judge": "vllm", "probe_at_start": False}, False),
        ({"judge": "embedded"}, False),
        ({"judge": "smollm2"}, False),
    ],
)
def test_only_servers_are_probed_and_only_where_it_is_wanted(settings, probed):
    assert (start_probe(Settings(**settings), Metrics()) is not None) is probed
