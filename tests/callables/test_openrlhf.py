"""OpenRLHF's contract: a Python file with a synchronous function of three lists."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from callables.rows import ENVELOPE, QUESTION, RESPONSES, expected
from citemark_schemas import SIGNALS, EnvelopeError

PROMPT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
LABEL = json.dumps(ENVELOPE)


@pytest.fixture(scope="module")
def reward_func():
    """The function as OpenRLHF loads it: from the file that the command names."""
    command = [sys.executable, "-m", "citemark_grpo.openrlhf"]
    named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(named).suffix == ".py"
    spec = importlib.util.spec_from_file_location("reward_func", named)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def asked(reward_func, responses, label=LABEL):
    queries = [f"{PROMPT}{response}<|im_end|>" for response in responses]
    return reward_func(queries, [PROMPT] * len(queries), [label] * len(queries))


def test_rewards_scores_and_logs_are_lists_of_floats_in_order(reward_func, citemark_url, use):
    use(citemark_url)
    answer = asked(reward_func, RESPONSES)
    assert answer["rewards"] == answer["scores"] == expected(citemark_url)
    assert answer["extra_logs"].keys() == set(SIGNALS)
    for values in [answer["rewards"], *answer["extra_logs"].values()]:
        assert [type(value) for value in values] == [float] * 4


def test_an_empty_batch_is_one_too(reward_func, service, use):
    use(service.url)
    assert asked(reward_func, []) == {"rewards": [], "scores": [], "extra_logs": {}}


def test_a_failed_judge_is_flagged_and_has_a_number(reward_func, start, use):
    use(start().server.url)
    label = {**ENVELOPE, "group": "g"}
    (known,) = asked(reward_func, RESPONSES[:1], label)["rewards"]
    answer = asked(reward_func, RESPONSES[:1], {**label, "question": "fail"})
    assert known > 0
    assert answer["rewards"] == [known]
    assert answer["extra_logs"]["judge_failed"] == [1.0]


def test_a_response_that_cannot_be_told_from_its_prompt_is_not_judged(reward_func, use):
    use("http://127.0.0.1:9")
    with pytest.raises(EnvelopeError, match="does not begin with its prompt"):
        reward_func(["something else"], [PROMPT], [LABEL])
