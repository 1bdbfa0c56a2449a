"""Probes, metrics, the catalogue, request ids and the access log."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from citemark_service.errors import JudgeTimeout, JudgeUnreachable
from support.running_service import Running, begin, until


def samples(service: Running) -> dict[str, float]:
    text = service.client.get("/metrics").text
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(number) for name, number in pairs}


def test_the_index_says_where_things_are(service):
    index = service.client.get("/").json()
    assert (index["service"], index["judge"]) == ("citemark", "gated")
    for name in ("rubrics", "docs"):
        assert service.client.get(index[name]).status_code == 200


def test_the_catalogue_shows_what_is_judged(service, rollout):
    (static,) = service.client.get("/v1/rubrics").json()["sets"]
    result = service.post(rollout()).json()
    assert result["versions"]["static_rubrics"] == f"{static['name']}@{static['version']}"
    judged = [item["title"] for item in result["rubrics"] if item["source"] == "static"]
    assert [criterion["title"] for criterion in static["criteria"]] == judged


@pytest.mark.parametrize("failure", [None, JudgeUnreachable("no connection"), JudgeTimeout("slow")])
def test_the_judge_is_asked_once_for_many_and_closed_in_the_end(failure):
    with begin() as service, ThreadPoolExecutor(4) as pool:
        service.judge.unready = failure
        answers = list(pool.map(service.client.get, ["/readyz"] * 4))
        assert service.judge.checks == 1
        assert service.client.get("/healthz").status_code == 200
    expected = (200, {"status": "ready", "down": []})
    if failure is not None:
        expected = (503, {"error": failure.kind, "message": f"gated: {failure}", "details": []})
    assert [(answer.status_code, answer.json()) for answer in answers] == [expected] * 4
    assert service.judge.closed


def test_metrics_count_what_happened(start, rollout):
    service = start()
    service.post({"items": [rollout(verification_reward=10.0), rollout("fail")]})
    service.post(rollout(response="no block"))
    service.post(b"nonsense")
    service.client.get("/%0Aforged")
    seen = samples(service)
    counted = {
        'rollouts_total{outcome="scored"}': 1,
        'rollouts_total{outcome="failed"}': 1,
        'rollouts_total{outcome="refused"}': 1,
        'failures_total{kind="judge_unreachable"}': 1,
        'refusals_total{kind="no_answer_block"}': 1,
        'requests_total{route="/v1/score",status="200"}': 2,
        'requests_total{route="/v1/score",status="422"}': 1,
        'requests_total{route="unmatched",status="404"}': 1,
        "reward_sum": pytest.approx(0.7),
        "citation_f1_sum": pytest.approx(1.0),
        'stage_seconds_count{stage="parse"}': 3,
        "inflight_requests": 1,
        "inflight_rollouts": 0,
        "draining": 0,
    }
    assert {name: seen[f"citemark_{name}"] for name in counted} == counted
    assert all(name.startswith("citemark_") for name in seen)
    running = service.in_background({"items": [rollout("wait")] * 3})
    until(lambda: service.admission.rollouts.held == 3)
    assert samples(service)["citemark_inflight_rollouts"] == 3
    service.judge.gate.set()
    running.result()
    until(lambda: samples(service)["citemark_inflight_rollouts"] == 0)


def test_openmetrics_is_served_to_who_asks(service):
    response = service.client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_a_request_id_is_echoed_or_made(service):
    given = service.client.get("/healthz", headers={"X-Request-ID": "step-17/worker-3"})
    assert given.headers["x-request-id"] == "step-17/worker-3"
    made = [service.client.get("/nothing").headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    for hostile in ("x" * 129, "a b"):
        answer = service.client.get("/healthz", headers={"X-Request-ID": hostile})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_a_defect_is_500_with_its_request_id_and_no_internals(start, rollout, caplog):
    service = start()
    # The server closes the connection behind a defect; the next request is not to meet that.
    headers = {"X-Request-ID": "r-9", "Connection": "close"}
    response = service.post(rollout("broken"), headers=headers)
    assert response.status_code == 500
    assert response.json()["error"] == "internal_error"
    assert "r-9" in response.json()["message"]
    assert response.headers["x-request-id"] == "r-9"
    assert "scripted defect" not in response.text
    until(lambda: "scripted defect" in caplog.text)
    assert service.post(rollout()).status_code == 200
    assert samples(service)['citemark_requests_total{route="/v1/score",status="500"}'] == 1
