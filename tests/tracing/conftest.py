"""The real service with traces, before a scripted judge, and a collector behind it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_service.ledger.ledger import ledger_of
from citemark_service.telemetry.traces import open_tracer
from support.judged_service import running_judge
from support.otlp_collector import Collector, collecting
from support.readable_metrics import ReadableMetrics
from support.scripted_judge import Script, ScriptedJudge
from support.scripted_service import client_of, real_app


@dataclass(frozen=True)
class Traced:
    client: httpx.Client
    judge: ScriptedJudge
    metrics: ReadableMetrics

    def spans(self, outcome: str) -> float | None:
        return self.metrics.sample("trace_spans_total", outcome=outcome)


Serve = Callable[..., AbstractContextManager[Traced]]
"""`with serve(script, otlp_endpoint=…) as service`: when it ends, its spans are exported."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def serve(collector: Collector, tmp_path) -> Serve:
    @contextmanager
    def serving(script: Script, **settings: Any) -> Iterator[Traced]:
        judge, metrics = ScriptedJudge(script), ReadableMetrics()
        given = {
            "judge_attempts": 3,
            "ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
            "otlp_endpoint": collector.url,
            "evidence_quotes": False,
            **settings,
        }
        with running_judge(judge):
            table = judge.settings(**given)
            with open_tracer(table, metrics) as tracer:
                app = real_app(table, metrics, tracer, ledger=ledger_of(table, metrics))
                with client_of(app) as client:
                    yield Traced(client, judge, metrics)

    return serving
