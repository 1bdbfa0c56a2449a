"""One slow reward can be followed into vLLM: its spans are in the trace of the request."""

from typing import Any

import httpx
import pytest

from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer
from support.otlp_collector import Collector, Seen
from support.scripted_service import listening, real_app
from support.vllm_server import MODEL, VllmServer, patiently

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

_PATIENCE_S = 900.0
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_each_call_has_vllms_own_span_within_it(
    vllm: VllmServer, collector: Collector, rollouts: list[dict[str, Any]]
) -> None:
    metrics = Metrics()
    settings = Settings(
        judge="vllm",
        judge_url=vllm.base_url,
        judge_model=MODEL,
        judge_timeout_s=_PATIENCE_S,
        judge_deadline_s=_PATIENCE_S,
        otlp_endpoint=collector.url,
    )
    asked = next(each for each in rollouts if "<answer>" in each["response"])
    headers = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
    with (
        open_tracer(settings, metrics) as tracer,
        listening(real_app(settings, metrics, tracer)) as url,
    ):
        answer = httpx.post(f"{url}/v1/score", json=asked, headers=headers, timeout=_PATIENCE_S)
        assert answer.json()["failure"] is None

    def inside(name: str) -> list[Seen]:
        return [span for span in collector.named(name) if span.trace == CALLER]

    calls = inside("judge call")
    assert len(calls) >= 2
    patiently(lambda: len(inside("llm_request")) >= len(calls))
    assert {span.parent for span in inside("llm_request")} == {span.id for span in calls}
    for span in inside("llm_request"):
        call = collector.parent(span)
        read = call.facts["gen_ai.usage.input_tokens"]
        assert span.facts["gen_ai.usage.prompt_tokens"] == read
