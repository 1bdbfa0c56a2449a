"""TRL's contract: a rank's batch by keyword, None where nobody judged, the same keys logged."""

import asyncio
import inspect
import logging
import math
import pickle
from types import SimpleNamespace

import pytest

from callables.rows import ENVELOPE, QUESTION, RESPONSES, SOURCES, expected
from citemark_grpo.trl import rubric_reward
from citemark_schemas import SIGNALS, EnvelopeError

KEYS = {f"citemark/{name}" for name in SIGNALS}
COLUMNS = {"citemark/rubric_reward", "citemark/citation_f1", "judge_failure"}


class Log:
    """What TRL's two callbacks were told."""

    def __init__(self):
        self.metrics = {}
        self.columns = {}

    def rewards(self, completions, prompts=None, **columns):
        return asyncio.run(
            rubric_reward(
                prompts=prompts or [QUESTION] * len(completions),
                completions=completions,
                completion_ids=[[1, 2]] * len(completions),
                log_extra=self.columns.__setitem__,
                log_metric=self.metrics.__setitem__,
                trainer_state=SimpleNamespace(global_step=7),
                **columns,
            )
        )


def columns(count, **changes):
    return {name: [value] * count for name, value in {**ENVELOPE, **changes}.items()}


@pytest.fixture
def log():
    return Log()


def test_trl_sees_a_coroutine_function_that_it_can_send_to_a_child():
    assert inspect.iscoroutinefunction(rubric_reward)
    assert pickle.loads(pickle.dumps(rubric_reward)) is rubric_reward


def test_every_reward_of_a_step_is_the_services_in_order(citemark_url, use, log):
    use(citemark_url)
    rewards = log.rewards(list(RESPONSES * 64), **columns(256))
    assert rewards == expected(citemark_url) * 64


def test_a_conversation_is_judged_by_its_last_reply_and_its_tools(citemark_url, use, log):
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
    rubrics = {name: [ENVELOPE[name]] * 4 for name in ("positive_rubrics", "negative_rubrics")}
    assert log.rewards(completions, [prompt] * 4, **rubrics) == expected(citemark_url)


def test_what_nobody_judged_is_none_and_the_others_stand(start, use, log):
    use(start().server.url)
    questions = ["fine", "fail", "fine"]
    rewards = log.rewards([RESPONSES[0]] * 3, **{**columns(3), "question": questions})
    assert rewards[1] is None
    assert rewards[0] == rewards[2] != 0
    assert log.metrics["citemark/judge_failed"] == pytest.approx(1 / 3)
    assert log.metrics["citemark/rubric_reward"] == 0.5  # of what was judged
    assert [bool(reason) for reason in log.columns["judge_failure"]] == [False, True, False]


def test_a_service_that_cannot_be_reached_is_said_loudly(closed_url, use, log, monkeypatch, caplog):
    use(closed_url)
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.5")
    assert log.rewards(list(RESPONSES), **columns(4)) == [None] * 4
    assert log.metrics["citemark/judge_failed"] == 1.0
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "4 of 4 rollouts have no reward" in errors[0].getMessage()


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_same_keys_are_logged_at_every_call(citemark_url, closed_url, use, count, monkeypatch):
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.3")
    for url in (citemark_url, closed_url):
        use(url)
        log = Log()
        log.rewards(list(RESPONSES[:count]), **columns(count))
        assert log.metrics.keys() == KEYS
        assert all(math.isfinite(value) for value in log.metrics.values())
        lengths = {name: len(values) for name, values in log.columns.items()}
        assert lengths == dict.fromkeys(COLUMNS, count)


def test_a_malformed_row_raises_with_its_place(citemark_url, use, log):
    use(citemark_url)
    rows = columns(3)
    rows["positive_rubrics"] = [["good"], ["good"], [{"description": "x", "weight": "heavy"}]]
    with pytest.raises(EnvelopeError, match=r"rows\[2\]\.positive_rubrics\[0\]"):
        log.rewards([RESPONSES[0]] * 3, **rows)


def test_the_step_travels_and_a_missing_log_is_no_matter(service, use):
    use(service.url)
    state = SimpleNamespace(global_step=41)
    call = rubric_reward(["q"], ["r"], trainer_state=state, **columns(1))
    assert asyncio.run(call) == [1.0]
    assert service.requests[0]["items"][0]["step"] == 41
