"""Each trainer's contract with its function: rewards, flags, what raises, and what is passed."""

import asyncio
import functools
import inspect
import json
import math
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from callables.forms import (
    ENVELOPE,
    FAILING,
    FORMS,
    QUESTION,
    RESPONSES,
    RUBRICS,
    SOURCES,
    Log,
    Sample,
    Status,
    Task,
    Trace,
    arguments,
    batch_of,
    expected,
    for_verl,
    results,
    reward_func,
    with_trl,
    with_verifiers,
)
from citemark_grpo.errors import Refused, SettingsError
from citemark_grpo.slime import rm
from citemark_grpo.trl import rubric_reward
from citemark_grpo.verifiers import reward
from citemark_grpo.verl import compute_score, compute_score_sync
from citemark_schemas import SIGNALS, EnvelopeError, metrics_of
from support.scripted_service import answering

EVERY = pytest.mark.parametrize(("form", "place"), FORMS.values(), ids=FORMS)


@EVERY
def test_every_reward_of_a_step_is_the_services_in_order(citemark_url, use, form, place):
    use(citemark_url)
    told = form([ENVELOPE] * 64, RESPONSES * 16)
    assert told == [(each, 0.0) for each in expected(citemark_url) * 16]


@EVERY
def test_a_failed_judge_moves_no_baseline_and_is_flagged(start, use, form, place):
    use(start().server.url)
    rows = [{**ENVELOPE, "group": "g"}] * 2
    (known, fine), (stand_in, failed) = form(rows, (RESPONSES[0], FAILING))
    assert known > 0
    assert stand_in == (None if form in (with_trl, with_verifiers) else known)
    assert (fine, failed) == (0.0, 1.0)


@EVERY
def test_a_service_that_cannot_be_reached_ends_no_run(closed_url, use, monkeypatch, form, place):
    use(closed_url)
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.3")
    monkeypatch.setenv("CITEMARK_FALLBACK_REWARD", "0.25")
    left_out = form in (with_trl, with_verifiers)
    assert form([ENVELOPE], RESPONSES[:1]) == [(None if left_out else 0.25, 1.0)]


@EVERY
@pytest.mark.parametrize("weight", ["heavy", math.nan])
def test_a_malformed_row_raises_with_its_place(citemark_url, use, form, place, weight):
    use(citemark_url)
    row = {**ENVELOPE, "positive_rubrics": [{"description": "x", "weight": weight}]}
    with pytest.raises(EnvelopeError, match=rf"{place}positive_rubrics\[0\]"):
        form([ENVELOPE, row], RESPONSES[:2])


def test_trl_and_verl_see_a_coroutine_function_that_can_be_sent_to_a_child():
    for function in (rubric_reward, compute_score):
        assert inspect.iscoroutinefunction(functools.partial(function))
        assert pickle.loads(pickle.dumps(function)) is function
    assert not inspect.iscoroutinefunction(compute_score_sync)


def test_trls_conversation_is_judged_by_its_last_reply_and_its_tools(citemark_url, use):
    use(citemark_url)
    prompt = [{"role": "system", "content": "Cite."}, {"role": "user", "content": QUESTION}]
    completions = [
        [
            {"role": "assistant", "content": "<answer>let me look</answer>"},
            {"role": "tool", "content": SOURCES},
            {"role": "assistant", "content": response},
        ]
        for response in RESPONSES
    ]
    assert Log().rewards([RUBRICS] * 4, completions, prompt) == expected(citemark_url)


def test_trl_logs_means_of_what_was_judged(start, use):
    use(start().server.url)
    log = Log()
    log.rewards([ENVELOPE] * 3, [RESPONSES[0], FAILING, RESPONSES[0]])
    assert log.metrics["citemark/judge_failed"] == pytest.approx(1 / 3)
    assert log.metrics["citemark/rubric_reward"] == 0.5


def test_trl_logs_the_judges_noise_within_groups(service, use):
    use(service.url)
    service.steps.append(functools.partial(answering, reward_std=0.5))
    log = Log()
    other = {**ENVELOPE, "question": "Since when?"}
    assert log.rewards([ENVELOPE, other, ENVELOPE], ["aa", "bbbbbbbb", "cccc"]) == [2, 8, 4]
    assert log.metrics["citemark/group_noise"] == 0.25 / 2.0
    assert log.columns["citemark/reward_std"] == [0.5] * 3


@pytest.mark.parametrize("count", [0, 1, 4])
def test_trl_gets_the_same_keys_at_every_call(citemark_url, closed_url, use, count, monkeypatch):
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.3")
    for url in (citemark_url, closed_url):
        use(url)
        log = Log()
        log.rewards([ENVELOPE] * count, list(RESPONSES[:count]))
        assert log.metrics.keys() == {f"citemark/{name}" for name in (*SIGNALS, "group_noise")}
        assert all(math.isfinite(value) for value in log.metrics.values())
        names = ("reward_std", "rubric_reward", "citation_f1")
        columns = (*(f"citemark/{name}" for name in names), "judge_failure")
        lengths = {name: len(values) for name, values in log.columns.items()}
        assert lengths == dict.fromkeys(columns, count)


def test_trls_step_travels_and_a_missing_log_is_no_matter(service, use):
    use(service.url)
    columns: dict[str, Any] = {name: [value] for name, value in ENVELOPE.items()}
    state = SimpleNamespace(global_step=41)
    call = rubric_reward(["q"], ["r"], trainer_state=state, **columns)
    assert asyncio.run(call) == [1.0]
    assert service.requests[0]["items"][0]["step"] == 41


async def test_verls_configuration_sets_a_deadline_before_the_managers_own(service):
    service.delay_s = 60.0
    call = compute_score(**for_verl(), url=service.url, deadline_s=0.5, fallback_reward=0.25)
    told = await asyncio.wait_for(call, timeout=30.0)  # as `rate_limited` does
    assert (told["score"], told["judge_failed"]) == (0.25, 1.0)


def test_verls_special_tokens_and_own_arguments_do_no_harm(citemark_url):
    call = for_verl(RESPONSES[0] + "<|im_end|>")
    call |= {"reward_router_address": "http://other", "reward_model_tokenizer": object()}
    assert compute_score_sync(**call, url=citemark_url)["score"] == expected(citemark_url)[0]


def test_verls_configuration_sets_knobs_and_run(service):
    knobs = {"citation_weight": 0.3}
    compute_score_sync(**for_verl(), url=service.url, knobs=knobs, run="r1")
    (item,) = service.requests[0]["items"]
    assert (item["citation_weight"], item["run"]) == (0.3, "r1")


def test_of_many_rows_the_refused_one_is_named(citemark_url):
    rows = [for_verl(), for_verl(static_rubrics="v99"), for_verl()]
    with pytest.raises(Refused, match=r"^row 1: .*static_rubrics"):
        batch_of(rows, url=citemark_url)


def test_a_wrong_token_is_no_rows_fault(start):
    url = start(api_token="t0ken-of-the-service").server.url
    with pytest.raises(Refused, match=r"^http.* answered 401: no token, or a wrong one"):
        batch_of([for_verl()] * 2, url=url)


def test_without_a_service_the_first_call_says_so():
    with pytest.raises(SettingsError, match="CITEMARK_URL"):
        compute_score_sync(**for_verl())


def test_openrlhfs_batch_may_be_empty(service, use):
    use(service.url)
    assert reward_func()([], [], []) == {"rewards": [], "scores": [], "extra_logs": {}}
    assert service.requests == []


def test_openrlhfs_response_that_cannot_be_told_from_its_prompt_is_not_judged(use):
    use("http://127.0.0.1:9")
    with pytest.raises(EnvelopeError, match="does not begin with its prompt"):
        reward_func()(["something else"], ["prompt"], [ENVELOPE])


@pytest.mark.parametrize("label", [ENVELOPE, json.dumps(ENVELOPE)])
async def test_slimes_flag_names_the_service_and_the_row_may_be_the_label(citemark_url, label):
    sample = Sample(RESPONSES[0], {"rm_type": "x"}, label)
    assert await rm(arguments(citemark_url), sample) == expected(citemark_url)[0]


async def test_slimes_failed_sample_gets_the_mean_of_its_group(start):
    samples = [Sample(RESPONSES[0]), Sample("no answer"), Sample(FAILING)]
    rewards = await rm(arguments(start().server.url), samples)
    first, second, third = (each for each in rewards if isinstance(each, float))
    assert second == 0.0
    assert third == pytest.approx((first + second) / 2)
    assert [sample.remove_sample for sample in samples] == [False, False, True]


async def test_how_a_response_ended_is_told(service, use):
    use(service.url)
    samples = [Sample("x", status=Status.TRUNCATED), Sample("x")]
    await rm(arguments(), [*samples, Sample("x", {**ENVELOPE, "finish_reason": "tool"})])
    for truncated in (True, False):
        await reward(Task(**ENVELOPE), Trace("x", is_truncated=truncated))
    ends = [item["finish_reason"] for request in service.requests for item in request["items"]]
    assert ends == ["length", "stop", "tool", "length", "stop"]


async def test_verifiers_metrics_are_recorded_and_tools_are_sources(citemark_url, use):
    use(citemark_url)
    trace = Trace(RESPONSES[0], tools=SOURCES.splitlines())
    assert await reward(Task(**RUBRICS), trace) == expected(citemark_url)[0]
    known = metrics_of(results(citemark_url)[0])
    assert trace.metrics == {f"citemark_{name}": value for name, value in known.items()}
