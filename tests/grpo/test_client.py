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
from citemark_schemas import FailureKind, Knobs, Problem, ProblemDetail, ScoreResponse
from support.scripted_service import Service, answering, dripping, failing, free_url, scored, status


def rollouts(count: int) -> list[dict[str, Any]]:
    return [
        {"question": "q", "tool_output": "", "response": "x" * index, "id": f"r{index}"}
        for index in range(count)
    ]


async def test_results_come_back_in_order_whatever_the_batches(service: Service) -> None:
    async with ScoreClient(service.url, batch_items=3, parallel=4) as client:
        results = await client.score(rollouts(20))
    assert [result.id for result in results] == [f"r{index}" for index in range(20)]
    assert [result.reward for result in results] == [float(index) for index in range(20)]
    assert sorted(len(request["items"]) for request in service.requests) == [2, *[3] * 6]


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("/t/s3cret", "s3cret"),
        ("/t/s3cret/", "s3cret"),
        ("/?token=s3cret", "s3cret"),
        ("?token=s%33cret", "s3cret"),
        ("/t/a%2Fb", "a/b"),
        ("/", None),
    ],
)
async def test_a_token_in_the_url_becomes_a_header(
    service: Service, written: str, token: str | None
) -> None:
    async with ScoreClient(service.url + written) as client:
        await client.score(rollouts(1))
    (sent,) = service.headers
    assert sent.get("authorization") == (None if token is None else f"Bearer {token}")


async def test_no_error_tells_the_token_of_the_url() -> None:
    url = free_url()
    async with ScoreClient(f"{url}/t/s3cret", attempts=1) as client:
        with pytest.raises(Unreachable) as away:
            await client.score(rollouts(1))
    assert str(away.value).startswith(f"{url}: ")


async def test_a_header_wins_over_the_token_of_the_url(service: Service) -> None:
    headers = {"Authorization": "Bearer mine"}
    async with ScoreClient(f"{service.url}/t/s3cret", headers=headers) as client:
        await client.score(rollouts(1))
    assert service.headers[0]["authorization"] == "Bearer mine"


def test_a_query_that_is_no_token_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match=r"^http://host/ has a query; ") as refused:
        ScoreClient("http://host/?deadline_s=20&token=s3cret")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "", "localhost:8000", "ftp://host", "http://", "http://host:port"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(url))):
        ScoreClient(url)
    with pytest.raises(ValueError, match=re.escape(repr(url))):
        score(url, rollouts(1))


async def test_no_rollouts_need_no_call(service: Service) -> None:
    async with ScoreClient(service.url) as client:
        assert await client.score([]) == []
    assert service.requests == []


async def test_only_knobs_that_were_set_are_sent(service: Service) -> None:
    async with ScoreClient(service.url) as client:
        await client.score(rollouts(1), Knobs(verification_reward=10.0))
    (request,) = service.requests
    assert request.keys() == {"items", "deadline_s", "verification_reward"}
    assert request["verification_reward"] == 10.0


async def test_the_service_is_told_a_little_less_than_the_deadline(service: Service) -> None:
    async with ScoreClient(service.url) as client:
        await client.score(rollouts(1), deadline_s=20)
    assert 15 < service.requests[0]["deadline_s"] <= 18


async def test_batches_in_flight_are_bounded(service: Service) -> None:
    service.delay_s = 0.05
    async with ScoreClient(service.url, batch_items=1, parallel=3) as client:
        await client.score(rollouts(12))
    assert service.busiest == 3


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_a_passing_refusal_is_tried_again(service: Service, code: int) -> None:
    service.steps = [status(code), status(code), answering]
    async with ScoreClient(service.url) as client:
        (result,) = await client.score(rollouts(1))
    assert result.id == "r0"
    assert len(service.requests) == 3


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_waited_for(service: Service, as_date: bool) -> None:
    # A date has whole seconds, so that up to one of the three is lost.
    asked = email.utils.formatdate(time.time() + 3, usegmt=True) if as_date else "2"
    service.steps = [status(429, retry_after=asked)]
    start = time.monotonic()
    async with ScoreClient(service.url) as client:
        await client.score(rollouts(1))
    assert time.monotonic() - start >= 1.9


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(service: Service) -> None:
    service.steps = [status(429, retry_after="3600")]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Overloaded) as overloaded:
            await client.score(rollouts(1), deadline_s=30)
    assert overloaded.value.retry_after_s == 3600
    assert len(service.requests) == 1


@pytest.mark.parametrize("code", [429, 503, 502])
async def test_a_retry_after_of_no_date_does_not_end_the_client(
    service: Service, code: int
) -> None:
    beyond = "Mon, 01 Jan 2999999999999999999999 00:00:00 GMT"
    service.steps = [status(code, retry_after=beyond), answering]
    async with ScoreClient(service.url) as client:
        (result,) = await client.score(rollouts(1))
    assert result.id == "r0"


async def test_fields_of_a_newer_service_are_ignored(service: Service) -> None:
    def newer(body: dict[str, Any]) -> Response:
        answer = json.loads(bytes(answering(body).body))
        answer["served_by"] = "a later version"
        answer["items"][0] |= {"surprise": {"a": 1}}
        answer["items"][0]["format"]["surprise"] = True
        return Response(json.dumps(answer), media_type="application/json")

    service.steps = [newer]
    async with ScoreClient(service.url) as client:
        (result,) = await client.score(rollouts(1))
    assert (result.id, result.reward) == ("r0", 0.0)


async def test_attempts_are_bounded(service: Service) -> None:
    service.steps = [status(429)] * 5
    async with ScoreClient(service.url, attempts=2) as client:
        with pytest.raises(Overloaded):
            await client.score(rollouts(1))
    assert len(service.requests) == 2


async def test_a_closed_port_is_unreachable(closed_url: str) -> None:
    async with ScoreClient(closed_url, attempts=2) as client:
        with pytest.raises(Unreachable):
            await client.score(rollouts(1))


async def test_a_refused_request_names_the_place_in_the_whole_sequence(service: Service) -> None:
    detail = ProblemDetail(loc="items[1].static_rubrics", message="unknown set")
    problem = Problem(error="invalid_request", message="bad", details=(detail,))
    service.steps = [answering, status(422, problem.model_dump_json())]
    async with ScoreClient(service.url, batch_items=2, parallel=1) as client:
        with pytest.raises(Refused) as refused:
            await client.score(rollouts(6))
    assert refused.value.status == 422
    assert refused.value.problem.details[0].loc == "items[3].static_rubrics"
    assert [each and each.id for each in refused.value.scored] == [
        "r0",
        "r1",
        None,
        None,
        "r4",
        "r5",
    ]
    assert len(service.requests) == 3


async def test_a_refusal_without_a_problem_body_names_its_status(service: Service) -> None:
    service.steps = [status(404, "not here")]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Refused, match="404"):
            await client.score(rollouts(1))


@pytest.mark.parametrize(
    ("answered", "told"), [(401, "set CITEMARK_API_TOKEN"), (404, "the root of a Citemark")]
)
async def test_a_refusal_that_settings_explain_says_which(
    service: Service, answered: int, told: str
) -> None:
    problem = Problem(error="unauthorized", message="send it as 'X-Api-Key: TOKEN'")
    service.steps = [status(answered, problem.model_dump_json())]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Refused, match=told) as refused:
            await client.score(rollouts(1))
    assert refused.value.status == answered


async def test_what_a_stopping_service_did_not_start_is_sent_again(service: Service) -> None:
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 0, 3), status(503)]
    async with ScoreClient(service.url) as client:
        results = await client.score(rollouts(4))
    assert [result.reward for result in results] == [0.0, 1.0, 2.0, 3.0]
    assert [len(request["items"]) for request in service.requests] == [4, 2, 2]


async def test_what_stays_unstarted_keeps_its_failure(service: Service) -> None:
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 1), status(500)]
    async with ScoreClient(service.url) as client:
        first, second = await client.score(rollouts(2))
    assert first.reward == 0.0
    assert second.failure is not None
    assert second.failure.kind is FailureKind.SHUTTING_DOWN


async def test_a_server_error_is_not_tried_again(service: Service) -> None:
    service.steps = [status(500)]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Broken):
            await client.score(rollouts(1))
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        '{"items": []}',
        '{"items": [{"reward": 1.0}]}',
        ScoreResponse(items=(scored("another"),)).model_dump_json(),
        ScoreResponse(items=(scored("r0"), scored("r0"))).model_dump_json(),
    ],
)
async def test_an_answer_for_other_rollouts_is_no_answer(service: Service, body: str) -> None:
    service.steps = [status(200, body)]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Unreadable):
            await client.score(rollouts(1))


async def test_a_redirect_is_no_answer(service: Service) -> None:
    service.steps = [status(307, location="/elsewhere")]
    async with ScoreClient(service.url) as client:
        with pytest.raises(Unreadable):
            await client.score(rollouts(1))


async def test_a_slow_drip_ends_at_the_timeout(service: Service) -> None:
    service.steps = [dripping]
    async with ScoreClient(service.url, timeout_s=0.3) as client:
        with pytest.raises(TimedOut):
            await client.score(rollouts(1))


async def test_waiting_for_a_place_counts_against_the_deadline(service: Service) -> None:
    service.delay_s = 0.4
    async with ScoreClient(service.url, batch_items=1, parallel=1) as client:
        with pytest.raises(TimedOut) as timed_out:
            await client.score(rollouts(4), deadline_s=0.6)
    assert timed_out.value.scored[0] is not None
    assert timed_out.value.scored[3] is None


async def test_concurrent_calls_share_one_client(service: Service) -> None:
    async with ScoreClient(service.url, batch_items=2) as client:
        both = await asyncio.gather(client.score(rollouts(5)), client.score(rollouts(3)))
    assert [len(results) for results in both] == [5, 3]


async def test_a_client_must_be_open(service: Service) -> None:
    client = ScoreClient(service.url)
    with pytest.raises(RuntimeError, match="open the ScoreClient first"):
        await client.score(rollouts(1))


async def test_a_client_says_that_it_belongs_to_another_loop(service: Service) -> None:
    async with ScoreClient(service.url) as client:
        elsewhere = asyncio.to_thread(asyncio.run, client.score(rollouts(1)))
        with pytest.raises(RuntimeError, match="another event loop"):
            await elsewhere


def test_scripts_need_no_loop(service: Service) -> None:
    assert [result.id for result in score(service.url, rollouts(3))] == ["r0", "r1", "r2"]


async def test_scripts_may_have_a_running_loop(service: Service) -> None:
    assert len(score(service.url, rollouts(3))) == 3


def test_scripts_get_the_same_errors(closed_url: str) -> None:
    with pytest.raises(ScoreError):
        score(closed_url, rollouts(1), attempts=1)
