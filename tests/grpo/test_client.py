"""The client against a scripted service on a real socket."""

import asyncio
import email.utils
import json
import re
import time
from typing import Any

import pytest
from starlette.responses import Response

from citemark_grpo import (
    Broken,
    Overloaded,
    Refused,
    ScoreClient,
    ScoreError,
    TimedOut,
    Unreachable,
    Unreadable,
    score,
)
from citemark_schemas import FailureKind, Knobs, Problem, ProblemDetail, ScoreResponse, ScoreResult
from support.scripted_service import Service, answering, dripping, failing, free_url, scored, status


def rollouts(count: int) -> list[dict[str, Any]]:
    return [
        {"question": "q", "tool_output": "", "response": "x" * index, "id": f"r{index}"}
        for index in range(count)
    ]


async def results_of(url: str, count: int = 1, **options: Any) -> list[ScoreResult]:
    async with ScoreClient(url, **options) as client:
        return await client.score(rollouts(count))


async def test_results_come_back_in_order_whatever_the_batches(service: Service):
    results = await results_of(service.url, 20, batch_items=3, parallel=4)
    assert [result.id for result in results] == [f"r{index}" for index in range(20)]
    assert [result.reward for result in results] == [float(index) for index in range(20)]
    assert sorted(len(request["items"]) for request in service.requests) == [2, *[3] * 6]


@pytest.mark.parametrize(
    ("written", "headers", "sent"),
    [
        ("/t/s3cret", None, "Bearer s3cret"),
        ("/t/s3cret/", None, "Bearer s3cret"),
        ("/?token=s3cret", None, "Bearer s3cret"),
        ("?token=s%33cret", None, "Bearer s3cret"),
        ("/t/a%2Fb", None, "Bearer a/b"),
        ("/", None, None),
        ("/t/s3cret", {"Authorization": "Bearer mine"}, "Bearer mine"),
    ],
)
async def test_a_token_in_the_url_becomes_a_header_unless_one_is_given(
    service: Service, written, headers, sent
):
    await results_of(service.url + written, headers=headers)
    assert [each.get("authorization") for each in service.headers] == [sent]


async def test_no_error_tells_the_token_of_the_url():
    url = free_url()
    with pytest.raises(Unreachable) as away:
        await results_of(f"{url}/t/s3cret", attempts=1)
    assert str(away.value).startswith(f"{url}: ")


def test_a_query_that_is_no_token_is_refused_without_repeating_it():
    with pytest.raises(ValueError, match=r"^http://host/ has a query; ") as refused:
        ScoreClient("http://host/?deadline_s=20&token=s3cret")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "", "localhost:8000", "ftp://host", "http://", "http://host:port"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url):
    with pytest.raises(ValueError, match=re.escape(repr(url))):
        ScoreClient(url)
    with pytest.raises(ValueError, match=re.escape(repr(url))):
        score(url, rollouts(1))


async def test_no_rollouts_need_no_call(service: Service):
    assert await results_of(service.url, 0) == []
    assert service.requests == []


async def test_only_set_knobs_are_sent_and_a_little_less_than_the_deadline(service: Service):
    async with ScoreClient(service.url) as client:
        await client.score(rollouts(1), Knobs(verification_reward=10.0), deadline_s=20)
    (request,) = service.requests
    assert request.keys() == {"items", "deadline_s", "verification_reward"}
    assert request["verification_reward"] == 10.0
    assert 15 < request["deadline_s"] <= 18


async def test_batches_in_flight_are_bounded(service: Service):
    service.delay_s = 0.3
    await results_of(service.url, 12, batch_items=1, parallel=3)
    assert service.busiest == 3


@pytest.mark.parametrize("trusted", ["", "true"])
async def test_a_proxy_of_the_environment_gets_nothing_unless_it_is_trusted(
    service: Service, closed_url, monkeypatch, trusted
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, closed_url)
    monkeypatch.setenv("CITEMARK_TRUST_ENV", trusted)
    if not trusted:
        assert len(await results_of(service.url)) == 1
        return
    with pytest.raises(Unreachable):
        await results_of(service.url, attempts=1)


async def test_what_cannot_travel_is_refused_and_the_others_are_scored(service: Service):
    mixed = rollouts(5)
    mixed[1]["response"] = "half of a pair: \ud83d"
    mixed[2]["positive_rubrics"] = [{"weight": 1}]
    problem = Problem(
        error="invalid_request",
        message="bad",
        details=(ProblemDetail(loc="items[1].question", message="blank"),),
    )
    service.steps = [answering, status(422, problem.model_dump_json())]
    async with ScoreClient(service.url, batch_items=1, parallel=1) as client:
        with pytest.raises(Refused, match=r"2 of 5.*items\[1\].*items\[2\]") as refused:
            await client.score(mixed)
    assert [each and each.id for each in refused.value.scored] == ["r0", None, None, None, "r4"]


BEYOND = "Mon, 01 Jan 2999999999999999999999 00:00:00 GMT"


@pytest.mark.parametrize("headers", [{}, {"retry_after": BEYOND}], ids=["plain", "no date"])
@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_a_passing_refusal_is_tried_again(service: Service, code, headers):
    service.steps = [status(code, **headers), status(code, **headers), answering]
    (result,) = await results_of(service.url)
    assert result.id == "r0"
    assert len(service.requests) == 3


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_waited_for(service: Service, as_date):
    # A date has whole seconds, so that up to one of the three is lost.
    asked = email.utils.formatdate(time.time() + 3, usegmt=True) if as_date else "2"
    service.steps = [status(429, retry_after=asked)]
    start = time.monotonic()
    await results_of(service.url)
    assert time.monotonic() - start >= 1.9


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(service: Service):
    service.steps = [status(429, retry_after="3600")]
    with pytest.raises(Overloaded) as overloaded:
        await results_of(service.url, deadline_s=30)
    assert overloaded.value.retry_after_s == 3600
    assert len(service.requests) == 1


async def test_fields_of_a_newer_service_are_ignored(service: Service):
    def newer(body: dict[str, Any]) -> Response:
        answer = json.loads(bytes(answering(body).body))
        answer["served_by"] = "a later version"
        answer["items"][0] |= {"surprise": {"a": 1}}
        answer["items"][0]["format"]["surprise"] = True
        return Response(json.dumps(answer), media_type="application/json")

    service.steps = [newer]
    (result,) = await results_of(service.url)
    assert (result.id, result.reward) == ("r0", 0.0)


def answer_with(*results: ScoreResult) -> str:
    return ScoreResponse(items=results).model_dump_json()


@pytest.mark.parametrize(
    ("step", "options", "error", "calls"),
    [
        (status(429), {"attempts": 2}, Overloaded, 2),
        (status(500), {}, Broken, 1),
        (status(307, location="/elsewhere"), {}, Unreadable, 1),
        (status(200, ""), {}, Unreadable, 1),
        (status(200, "null"), {}, Unreadable, 1),
        (status(200, '{"items": []}'), {}, Unreadable, 1),
        (status(200, '{"items": [{"reward": 1.0}]}'), {}, Unreadable, 1),
        (status(200, answer_with(scored("another"))), {}, Unreadable, 1),
        (status(200, answer_with(scored("r0"), scored("r0"))), {}, Unreadable, 1),
        (dripping, {"timeout_s": 2.0}, TimedOut, 1),
    ],
)
async def test_what_is_no_answer_is_an_error_after_so_many_calls(
    service: Service, step, options, error, calls
):
    service.steps = [step] * 5
    with pytest.raises(error):
        await results_of(service.url, **options)
    assert len(service.requests) == calls


async def test_a_refused_request_names_the_place_in_the_whole_sequence(service: Service):
    detail = ProblemDetail(loc="items[1].static_rubrics", message="unknown set")
    problem = Problem(error="invalid_request", message="bad", details=(detail,))
    service.steps = [answering, status(422, problem.model_dump_json())]
    with pytest.raises(Refused) as refused:
        await results_of(service.url, 6, batch_items=2, parallel=1)
    assert refused.value.status == 422
    assert refused.value.problem.details[0].loc == "items[3].static_rubrics"
    ids = [each and each.id for each in refused.value.scored]
    assert ids == ["r0", "r1", None, None, "r4", "r5"]
    assert len(service.requests) == 3


PROBLEM = Problem(error="unauthorized", message="send it as 'X-Api-Key: TOKEN'").model_dump_json()


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (410, "not here", "410"),
        (401, PROBLEM, "set CITEMARK_API_TOKEN"),
        (404, PROBLEM, "the root of a Citemark"),
    ],
)
async def test_a_refusal_names_its_status_or_the_setting_that_explains_it(
    service: Service, code, body, told
):
    service.steps = [status(code, body)]
    with pytest.raises(Refused, match=told) as refused:
        await results_of(service.url)
    assert refused.value.status == code


async def test_what_a_stopping_service_did_not_start_is_sent_again(service: Service):
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 0, 3), status(503)]
    results = await results_of(service.url, 4)
    assert [result.reward for result in results] == [0.0, 1.0, 2.0, 3.0]
    assert [len(request["items"]) for request in service.requests] == [4, 2, 2]


async def test_what_stays_unstarted_keeps_its_failure(service: Service):
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 1), status(500)]
    first, second = await results_of(service.url, 2)
    assert first.reward == 0.0
    assert second.failure is not None
    assert second.failure.kind is FailureKind.SHUTTING_DOWN


async def test_waiting_for_a_place_counts_against_the_deadline(service: Service):
    def answer_once(body: dict[str, Any]) -> Response:
        service.delay_s = 60.0
        return answering(body)

    service.steps = [answer_once]
    with pytest.raises(TimedOut) as timed_out:
        await results_of(service.url, 4, batch_items=1, parallel=1, deadline_s=2.0)
    assert timed_out.value.scored[0] is not None
    assert timed_out.value.scored[3] is None


async def test_a_client_must_be_open_and_belongs_to_its_loop(service: Service):
    client = ScoreClient(service.url)
    with pytest.raises(RuntimeError, match="open the ScoreClient first"):
        await client.score(rollouts(1))
    async with client:
        elsewhere = asyncio.to_thread(asyncio.run, client.score(rollouts(1)))
        with pytest.raises(RuntimeError, match="another event loop"):
            await elsewhere


async def test_scripts_need_no_loop_and_may_have_one(service: Service, closed_url):
    for results in (await asyncio.to_thread(score, service.url, rollouts(3)),
                    score(service.url, rollouts(3))):  # fmt: skip
        assert [result.id for result in results] == ["r0", "r1", "r2"]
    with pytest.raises(ScoreError):
        score(closed_url, rollouts(1), attempts=1)
