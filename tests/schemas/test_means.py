"""What stands in for a reward that could not be had."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_schemas.means import PromptMeans, prompt_key


def rollout(question="q", **more):
    return Rollout(**{"question": question, "tool_output": "t", "response": "r", **more})


def test_nothing_is_known_of_a_prompt_before_its_first_reward():
    means = PromptMeans()
    means.add(rollout("other"), 1.0)
    assert means.of(rollout()) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=32))
def test_a_groups_rewards_have_their_mean(rewards):
    means = PromptMeans()
    for reward in rewards:
        means.add(rollout(response=str(reward)), reward)
    assert means.of(rollout(response="failed")) == pytest.approx(sum(rewards) / len(rewards))


def test_an_old_policys_rewards_fade():
    means = PromptMeans()
    for reward in [0.0] * 100 + [1.0] * 100:
        means.add(rollout(), reward)
    assert means.of(rollout()) == pytest.approx(1.0, abs=0.05)


def test_the_prompt_that_got_no_reward_for_longest_is_forgotten():
    means = PromptMeans(most=2)
    for question in ("a", "b", "a", "c"):
        means.add(rollout(question), 1.0)
    assert [means.of(rollout(question)) for question in "abc"] == [1.0, None, 1.0]


@pytest.mark.parametrize(
    "change",
    [
        {"question": "p"},
        {"tool_output": "u"},
        {"positive_rubrics": ["x"]},
        {"run": "another"},
        {"group": "g"},
    ],
)
def test_what_makes_another_prompt(change):
    assert prompt_key(rollout(**change)) != prompt_key(rollout())


def test_a_text_that_no_encoding_can_carry_has_a_key_too():
    assert prompt_key(rollout("\ud800")) != prompt_key(rollout("\ud801"))


def test_what_makes_no_other_prompt():
    assert prompt_key(rollout(id="1", response="x", step=3)) == prompt_key(rollout())
    grouped = rollout(group="g", tool_output="what this sample's own tools said")
    assert prompt_key(grouped) == prompt_key(rollout(group="g"))
