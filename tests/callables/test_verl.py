"""verl's contract: keyword arguments, one dict with the same scalar keys whatever happens."""

import asyncio
import functools
import inspect
import json
import math
import pickle
from typing import Any

import pytest

from callables.rows import ENVELOPE, RESPONSES, expected
from citemark_grpo.errors import Refused, SettingsError
from citemark_grpo.verl import compute_score, compute_score_batch, compute_score_sync
from citemark_schemas import SIGNALS, EnvelopeError
from support.scripted_service import scripted_service

KEYS = {"score", *SIGNALS}


def arguments(response=RESPONSES[0], **extra) -> dict[str, Any]:
    return {
        "data_source": "citemark",
        "solution_str": response,
        "ground_truth": "",
        "extra_info": {**ENVELOPE, "index": 3, "num_turns": 2, **extra},
    }


def asked(question, url, **settings):
    call = arguments(question=question)
    return asyncio.run(compute_score(**call, url=url, **settings))


def test_verl_sees_a_coroutine_function_through_its_partial():
    assert inspect.iscoroutinefunction(functools.partial(compute_score, url="http://x"))
    assert not inspect.iscoroutinefunction(compute_score_sync)
    assert pickle.loads(pickle.dumps(compute_score)) is compute_score


async def test_every_reward_of_a_step_is_the_services_in_order(citemark_url):
    responses = RESPONSES * 64
    calls = [compute_score(**arguments(each), url=citemark_url) for each in responses]
    scores = await asyncio.gather(*calls)
    assert [each["score"] for each in scores] == expected(citemark_url) * 64


async def test_a_deadline_in_the_configuration_comes_before_the_managers_own_limit():
    with scripted_service() as service:
        service.delay_s = 60.0
        call = compute_score(**arguments(), url=service.url, deadline_s=0.5, fallback_reward=0.25)
        told = await asyncio.wait_for(call, timeout=30.0)  # as `rate_limited` does
    assert told.keys() == KEYS
    assert (told["score"], told["judge_failed"]) == (0.25, 1.0)


def batch_of(rows, **settings):
    return compute_score_batch(
        data_sources=[row["data_source"] for row in rows],
        solution_strs=[row["solution_str"] for row in rows],
        ground_truths=[row["ground_truth"] for row in rows],
        extra_infos=[row["extra_info"] for row in rows],
        **settings,
    )


def test_the_three_forms_agree(citemark_url, use):
    use(citemark_url)
    rows = [arguments(each) for each in RESPONSES]
    one_by_one = [compute_score_sync(**row) for row in rows]
    in_text = {"ground_truth": json.dumps(ENVELOPE), "extra_info": None}
    batch = batch_of([{**row, **in_text} for row in rows])
    assert one_by_one == batch
    assert [each["score"] for each in batch] == expected(citemark_url)


def test_special_tokens_and_what_verl_adds_do_no_harm(citemark_url):
    call = arguments(RESPONSES[0] + "<|im_end|>")
    call |= {"reward_router_address": "http://other", "reward_model_tokenizer": object()}
    scored = compute_score_sync(**call, url=citemark_url)
    assert scored["score"] == expected(citemark_url)[0]


def test_the_same_finite_floats_whatever_happens(start, closed_url):
    url = start().server.url
    scored = [
        asked("anything", url),
        asked("fail", url),
        asked("anything", closed_url, deadline_s=0.3),
        compute_score_sync(**arguments("no answer block"), url=url),
    ]
    assert {tuple(each) for each in scored} == {("score", *SIGNALS)}
    values = [value for each in scored for value in each.values()]
    assert {type(value) for value in values} == {float}
    assert all(math.isfinite(value) for value in values)
    assert [each["judge_failed"] for each in scored] == [0.0, 1.0, 1.0, 0.0]


def test_a_failed_judge_gives_the_mean_of_the_prompts_rewards_else_the_constant(start):
    url = start().server.url

    def score_of(group, question="fine", **settings):
        row = arguments(group=group, question=question)
        return compute_score_sync(**row, url=url, **settings)["score"]

    known = score_of("g")
    assert known > 0
    assert score_of("g", "fail") == known
    assert score_of("h", "fail") == 0.0
    assert score_of("h", "fail", fallback_reward=0.25) == 0.25


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"positive_rubrics": [{"description": "x", "weight": "heavy"}]}, "positive_rubrics"),
        ({"question": None}, "question"),
        ({"tool_output": None}, "tool_output"),
    ],
)
def test_a_malformed_row_is_named(citemark_url, change, named):
    with pytest.raises(EnvelopeError, match=named):
        compute_score_sync(**arguments(**change), url=citemark_url)


def test_what_the_service_refuses_is_named(citemark_url):
    with pytest.raises(Refused, match="static_rubrics"):
        compute_score_sync(**arguments(static_rubrics="v99"), url=citemark_url)


def test_of_many_the_refused_row_is_named(citemark_url):
    rows = [arguments(), arguments(static_rubrics="v99"), arguments()]
    with pytest.raises(Refused, match=r"^row 1: .*static_rubrics"):
        batch_of(rows, url=citemark_url)


def test_a_wrong_token_is_no_rows_fault(start):
    url = start(api_token="t0ken").server.url
    with pytest.raises(Refused, match=r"^http.* answered 401: no token, or a wrong one"):
        batch_of([arguments()] * 2, url=url)


def test_without_a_service_the_first_call_says_so():
    with pytest.raises(SettingsError, match="CITEMARK_URL"):
        compute_score_sync(**arguments())


def test_knobs_and_run_of_the_configuration_are_sent(service):
    knobs = {"citation_weight": 0.3}
    compute_score_sync(**arguments(), url=service.url, knobs=knobs, run="r1")
    (item,) = service.requests[0]["items"]
    assert (item["citation_weight"], item["run"]) == (0.3, "r1")
