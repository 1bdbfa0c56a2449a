"""The real service with traces, before a scripted judge, and a collector behind it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_rubrics import load_library
from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.ledger.ledger import ledger_of
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer
from citemark_service.verdicts.factory import cache_verdicts
from support.judged_service import running_judge
from support.otlp_collector import Collector, collecting
from support.scripted_judge import MODEL, Script, ScriptedJudge
from support.scripted_service import listening

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Traced:
    """A running service, the judge that it asks, and what it counts."""

    client: httpx.Client
    judge: ScriptedJudge
    metrics: Metrics

    def lost(self) -> float:
        """Spans that were given up."""
        return self._counted("lost")

    def sent(self) -> float:
        """Spans that were exported."""
        return self._counted("exported")

    def _counted(self, outcome: str) -> float:
        labels = {"outcome": outcome}
        found = self.metrics.registry.get_sample_value("citemark_trace_spans_total", labels)
        assert found is not None
        return found


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
        with ExitStack() as stack:
            judge = ScriptedJudge(script)
            stack.enter_context(running_judge(judge))
            table = Settings(
                **{
                    "judge": "vllm",
                    "judge_url": judge.url,
                    "judge_model": MODEL,
                    "judge_attempts": 3,
                    "ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
                    "otlp_endpoint": collector.url,
                    "evidence_quotes": False,
                    **settings,
                }
            )
            metrics = Metrics()
            tracer = stack.enter_context(open_tracer(table, metrics))
            built = cache_verdicts(build_judge(table, metrics, tracer), table, metrics)
            app = create_app(
                settings=table,
                judge=built,
                library=load_library(),
                metrics=metrics,
                ledger=ledger_of(table, metrics),
                tracer=tracer,
            )
            listener = socket.create_server(("127.0.0.1", 0))
            stack.enter_context(listening(app, listener))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            client = httpx.Client(base_url=url, timeout=_PATIENCE_S, trust_env=False)
            yield Traced(stack.enter_context(client), judge, metrics)

    return serving
