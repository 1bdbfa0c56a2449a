"""One slow reward can be followed into vLLM: its spans are in the trace of the request."""

import pytest

from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer
from support.examples import EXAMPLE_ROWS
from support.otlp_collector import Seen
from support.scripted_service import client_of, real_app
from support.vllm_server import PATIENCE_S, patiently

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_each_call_has_vllms_own_span_within_it(settings, collector):
    metrics = Metrics()
    traced = settings.model_copy(update={"otlp_endpoint": collector.url})
    asked = next(each for each in EXAMPLE_ROWS if "<answer>" in each["response"])
    headers = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
    with (
        open_tracer(traced, metrics) as tracer,
        client_of(real_app(traced, metrics, tracer), patience_s=PATIENCE_S) as client,
    ):
        answer = client.post("/v1/score", json=asked, headers=headers)
        assert answer.json()["failure"] is None

    def inside(name: str) -> list[Seen]:
        return [span for span in collector.named(name) if span.trace == CALLER]

    calls = inside("judge call")
    assert len(calls) >= 2
    patiently(lambda: len(inside("llm_request")) >= len(calls))
    assert {span.parent for span in inside("llm_request")} == {span.id for span in calls}
    for span in inside("llm_request"):
        read = collector.parent(span).facts["gen_ai.usage.input_tokens"]
        assert span.facts["gen_ai.usage.prompt_tokens"] == read
