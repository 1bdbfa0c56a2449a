"""A collector that is away, slow or refuses costs traces, never a reward."""

import gc
import logging
import tracemalloc
from functools import partial

import pytest
from opentelemetry.trace import Tracer

from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.otlp import export_traces
from citemark_service.telemetry.traces import open_span, set_attributes
from support.judge_tasks import by_shape
from support.running_service import PATIENCE_S, until
from support.scripted_service import free_url
from support.step_rollouts import rollout, step

_ROOM = 1_024
GOOD = by_shape(V=2, S=2, U=1, C=1)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = ("citemark.tracing", "opentelemetry", "urllib3")
    return [r.getMessage() for r in caplog.records if r.name.startswith(names) and r.levelno >= 20]


def test_a_collector_that_is_not_there_is_told_of_once_and_all_spans_are_counted(serve, caplog):
    caplog.set_level(logging.INFO)
    with serve(GOOD, otlp_endpoint=free_url()) as service:
        # Those of each are a batch of their own: the request, the rollout and its nine.
        for spans in (11, 22, 33):
            answer = service.client.post("/v1/score", json=rollout(1, spans))
            assert answer.json()["reward"] is not None
            until(partial(lambda count: service.spans("lost") == count, spans))
    (line,) = told(caplog)
    assert line.startswith("traces are lost, rewards go on: ")
    assert "refused" in line.lower()
    assert service.spans("exported") == 0


def test_a_collector_that_refuses_is_told_of_with_its_status(serve, collector, caplog):
    caplog.set_level(logging.INFO)
    collector.status = 400
    with serve(GOOD) as service:
        service.client.post("/v1/score", json=rollout(1, 0))
        until(lambda: service.spans("lost") > 0)
        collector.status = 200
        service.client.post("/v1/score", json=rollout(1, 1))
        until(lambda: service.spans("exported") > 0)
    failed, again = told(caplog)
    assert "400" in failed
    assert again == "traces are exported again"
    assert service.spans("exported") == len(collector.spans)


def test_a_collector_that_hangs_holds_no_reward_up(serve, collector):
    collector.hang_s = 3600.0
    with serve(GOOD) as service:
        service.client.post("/v1/score", json=rollout(0, 0))
        assert collector.asked.wait(PATIENCE_S)
        answer = service.client.post("/v1/score", json={"items": step(4, 4)})
        assert None not in [item["reward"] for item in answer.json()["items"]]
        assert collector.spans == []
    # The end of the service, too, came long before the collector will answer.
    assert service.spans("exported") == 0
    assert service.spans("lost") > 0


def test_what_waits_for_a_hanging_collector_is_bounded(collector):
    collector.hang_s = 3600.0
    metrics, url = Metrics(), f"{collector.url}/v1/traces"

    def lost() -> float:
        labels = {"outcome": "lost"}
        return metrics.registry.get_sample_value("citemark_trace_spans_total", labels) or 0.0

    def end_spans(tracer: Tracer) -> None:
        for number in range(20 * _ROOM):
            with open_span(tracer, "rollout") as span:
                set_attributes(span, {"citemark.rollout": str(number)})

    with export_traces(url, ratio=1.0, metrics=metrics, queue=_ROOM) as tracer:
        end_spans(tracer)
        assert 18 * _ROOM <= lost() <= 20 * _ROOM
        tracemalloc.start()
        end_spans(tracer)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A queue whose batches failed meanwhile holds new spans, some MiB of them; all would be 40.
        assert grown < 8 * 1024 * 1024
    assert lost() == 40 * _ROOM
