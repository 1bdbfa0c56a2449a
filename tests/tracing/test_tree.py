"""One trace for each request, from the caller's span to the call that vLLM receives."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.errors import SettingsError
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_tracer, traces_url
from support.in_process_judges import GatedJudge
from support.judge_tasks import by_shape, shape_of
from support.scripted_judge import MODEL, Reply, Status, in_turn
from support.step_rollouts import rollout, step

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GOOD = by_shape(V=2, S=2, U=1, C=1)
JUDGED: dict[str, Any] = {"queue": {}, "judge call": {}}
WHOLE = {"parse": {}, "criteria": JUDGED, "citations": JUDGED, "score": {}, "ledger": {}}


def carrying(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{CALLER}-{PARENT}-{flags}", "tracestate": "vendor=kept"}


def test_a_request_is_one_trace_with_every_stage_and_what_came_of_it(serve, collector):
    told = {**rollout(1, 0), "run": "r1", "group": "g7"}
    with serve(GOOD) as service:
        answer = service.client.post("/v1/score", json={"items": [told], "step": 12})
        (result,) = answer.json()["items"]
    (root,) = collector.named("POST /v1/score")
    assert root.parent == ""
    assert collector.tree(root) == {"rollout": WHOLE}
    assert {span.trace for span in collector.spans} == {root.trace}
    assert not any(span.failed or span.events for span in collector.spans)
    for span in collector.spans:
        outer = span if span is root else collector.parent(span)
        assert outer.begin <= span.begin <= span.end <= outer.end
    assert root.facts == {
        "http.request.method": "POST",
        "http.route": "/v1/score",
        "http.response.status_code": 200,
        "citemark.request": answer.headers["x-request-id"],
    }
    (span,) = collector.named("rollout")
    assert span.facts == {
        "citemark.rollout": "1-0",
        "citemark.rollout_hash": result["rollout_hash"],
        "citemark.run": "r1",
        "citemark.step": 12,
        "citemark.group": "g7",
        "citemark.outcome": "scored",
        "citemark.reward": result["reward"],
        "citemark.cached": False,
        "citemark.judge_calls": 2,
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": result["judge"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": result["judge"]["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": result["judge"]["cached_tokens"],
    }
    assert service.spans("exported") == len(collector.spans)
    assert service.spans("lost") == 0


def test_a_callers_trace_goes_on_and_on_to_the_judge(serve, collector):
    with serve(GOOD) as service:
        long = {**rollout(1, 0), "id": "i" * 512}
        service.client.post("/v1/score", json=long, headers=carrying())
    (span,) = collector.named("rollout")
    assert span.facts["citemark.rollout"] == "i" * 256  # clipped
    (root,) = collector.named("POST /v1/score")
    assert (root.trace, root.parent) == (CALLER, PARENT)
    calls = {span.id: span for span in collector.named("judge call")}
    received = [headers["traceparent"].split("-") for headers in service.judge.headers]
    assert {trace for _, trace, _, _ in received} == {CALLER}
    assert {span for _, _, span, _ in received} == calls.keys()
    assert {headers["tracestate"] for headers in service.judge.headers} == {"vendor=kept"}
    assert {span.kind for span in calls.values()} == {3}  # a client's


@pytest.mark.parametrize(
    ("ratio", "flags", "traced"), [(1.0, "00", False), (0.0, None, False), (0.0, "01", True)]
)
def test_the_caller_decides_on_its_trace_and_the_ratio_on_others(
    serve, collector, ratio, flags, traced
):
    with serve(GOOD, otlp_sample_ratio=ratio) as service:
        headers = None if flags is None else carrying(flags)
        service.client.post("/v1/score", json=rollout(1, 0), headers=headers)
        for path in ("/healthz", "/metrics", "/v1/rubrics"):  # never traced
            assert service.client.get(path).status_code == 200
    assert {span.trace for span in collector.spans} == ({CALLER} if traced else set())
    assert service.spans("exported") == len(collector.spans)
    assert service.spans("lost") == 0
    # The last bit is whether the caller records.
    sent = {int(headers["traceparent"][-2:], 16) & 1 for headers in service.judge.headers}
    assert sent == {traced}


def test_a_broken_traceparent_begins_a_new_trace(serve, collector):
    broken = ["", "garbage", "00-" + "0" * 32 + f"-{PARENT}-01", "x" * 2000]
    with serve(GOOD) as service:
        for given in broken:
            hostile = {"traceparent": given, "tracestate": "=,=;" * 200}
            answer = service.client.post("/v1/score", json=rollout(1, 0), headers=hostile)
            assert answer.status_code == 200
    roots = collector.named("POST /v1/score")
    assert {root.parent for root in roots} == {""}
    assert len({int(root.trace, 16) for root in roots}) == len(broken)


def test_each_attempt_is_a_span_that_says_how_it_ended(serve, collector):
    answers = iter([Status(500), Status(429), Reply("nonsense")])

    def script(request):
        return GOOD(request) if "S" in shape_of(request) else next(answers, None) or GOOD(request)

    with serve(script) as service:
        answer = service.client.post("/v1/score", json=rollout(1, 0))
        assert answer.json()["reward"] is not None
    (criteria,) = collector.named("criteria")
    calls = [span for span in collector.named("judge call") if span.parent == criteria.id]
    calls.sort(key=lambda span: span.begin)
    asks = [(span.facts["citemark.ask"], span.facts["citemark.attempt"]) for span in calls]
    assert asks == [(1, 1), (1, 2), (1, 3), (2, 1)]
    outcomes = [span.facts["citemark.outcome"] for span in calls]
    assert outcomes == ["judge_server_error", "judge_overloaded", "ok", "ok"]
    assert [span.failed for span in calls] == [True, True, False, False]
    assert calls[0].facts["error.type"] == "JudgeServerError"
    assert {span.facts["citemark.rollout"] for span in calls} == {"1-0"}
    assert {span.facts["citemark.request"] for span in calls} == {answer.headers["x-request-id"]}
    place = service.judge.url.removeprefix("http://").removesuffix("/v1")
    assert {span.facts["citemark.server"] for span in calls} == {place}
    assert calls[2].facts["gen_ai.usage.input_tokens"] > 0
    assert not criteria.failed


def test_requests_at_once_are_traces_apart_and_every_span_is_with_its_rollout(serve, collector):
    groups = [step(1, 16, first=group) for group in range(4)]
    with serve(GOOD, judge_concurrency=4) as service, ThreadPoolExecutor(4) as pool:
        posts = [pool.submit(service.client.post, "/v1/score", json={"items": g}) for g in groups]
        answers = [item for post in posts for item in post.result().json()["items"]]
        assert None not in [item["reward"] for item in answers]
    roots = collector.named("POST /v1/score")
    assert len({root.trace for root in roots}) == 4
    spans = collector.named("rollout")
    assert sorted(span.facts["citemark.rollout"] for span in spans) == sorted(
        each["id"] for group in groups for each in group
    )
    for span in spans:
        assert collector.parent(span) in roots
        assert collector.tree(span) == WHOLE
    for call in collector.named("judge call"):
        asked = collector.parent(collector.parent(call))
        assert (call.trace, call.facts["citemark.rollout"]) == (
            asked.trace,
            asked.facts["citemark.rollout"],
        )
    received = {headers["traceparent"].split("-")[2] for headers in service.judge.headers}
    assert received == {span.id for span in collector.named("judge call")}


def test_a_stream_and_a_trainers_route_are_traced_too(serve, collector):
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in step(1, 2))
    with serve(GOOD) as service:
        assert service.client.post("/v1/score/stream", content=lines).status_code == 200
        one = rollout(3, 0)
        body = {"prompt": one["question"], "response": one["response"], "label": json.dumps(one)}
        assert service.client.post("/rm", json=body).status_code == 200
    (stream,) = collector.named("POST /v1/score/stream")
    assert collector.tree(stream) == {"rollout": WHOLE, "rollout 2": WHOLE}
    (reward,) = collector.named("POST /rm")
    assert collector.tree(reward) == {"rollout": WHOLE}


def test_a_rollout_that_nobody_judged_says_why_and_no_text_is_exported(serve, collector):
    secret = "zanzibar-quokka"
    hostile = {
        **rollout(1, 0),
        "question": f"Where is {secret}?",
        "response": f"<answer><snippet id=a>{secret}</snippet></answer>",
        "positive_rubrics": [f"Names {secret}"],
    }
    with serve(in_turn(Status(400, f"cannot read {secret}"), Reply(secret))) as service:
        service.client.post("/v1/score", json=hostile)
        service.client.post("/v1/score", json={**hostile, "tool_output": None})
        service.client.post("/v1/score", content=secret.encode())
        service.client.post(f"/{secret}", content=secret.encode())
    (span,) = collector.named("rollout")
    assert span.facts["citemark.outcome"] == "judge_rejected"
    assert "citemark.reward" not in span.facts
    assert "score" not in collector.tree(span)
    assert collector.bodies
    assert not any(secret.encode() in body for body in collector.bodies)


def test_waiting_for_a_prime_is_seen(serve, collector):
    long = "".join(f"<snippet id=x{n}>Fact {n} of the bridge.</snippet>" for n in range(800))
    rollouts = [{**each, "tool_output": long} for each in step(1, 3)]
    with serve(GOOD, prime_prefix=True) as service:
        service.client.post("/v1/score", json={"items": rollouts})
    primes = collector.named("prime")
    sent = [span for span in primes if "judge call" in collector.tree(span)]
    assert 0 < len(sent) < len(primes)


@pytest.mark.parametrize("name", ["citemark", "rewards-eu"])
def test_the_resource_is_the_service_unless_the_deployment_says_otherwise(
    serve, collector, monkeypatch, name
):
    if name != "citemark":
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    with serve(GOOD) as service:
        service.client.post("/v1/score", json=rollout(1, 0))
    assert {resource["service.name"] for resource in collector.resources} == {name}


async def test_a_defect_fails_the_span_of_its_request(collector):
    settings = Settings(otlp_endpoint=collector.url)
    with open_tracer(settings, Metrics()) as tracer:
        app = create_app(settings, GatedJudge(), tracer=tracer)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            broken = {**rollout(1, 0), "question": "broken"}
            assert (await client.post("/v1/score", json=broken)).status_code == 500
    for name in ("POST /v1/score", "rollout"):
        (span,) = collector.named(name)
        assert (span.failed, span.events) == (True, 0)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("https://c/otlp/", "https://c/otlp/v1/traces"),
        ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
    ],
)
def test_an_endpoint_may_name_the_path_or_not(endpoint, url):
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://c:4317", "http://", "http://[c"])
def test_an_endpoint_that_cannot_be_is_refused(endpoint):
    with pytest.raises(SettingsError, match="otlp_endpoint"):
        traces_url(endpoint)
