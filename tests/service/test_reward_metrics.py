"""What the dashboards compute rewards, rubrics and the pull of length from."""

from random import Random
from statistics import pvariance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Knobs, Polarity, RubricScore, Source, group_noise
from citemark_service.telemetry.metrics import Metrics
from support.scripted_service import scored


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"citemark_{name}", labels)
    assert found is not None, name
    return found


def judged(title: str, source: Source, score: float) -> RubricScore:
    return RubricScore(
        title=title, polarity=Polarity.POSITIVE, source=source, weight=1.0, raw=score, score=score
    )


@settings(max_examples=25)  # each makes a registry of its own
@given(
    st.lists(st.tuples(st.floats(-0.5, 1.2), st.integers(1, 100_000)), min_size=1, max_size=20),
    st.sampled_from([1.0, 10.0]),
)
def test_the_sums_are_those_of_the_rollouts_whatever_the_scale(pairs, scale):
    metrics = Metrics()
    for reward, characters in pairs:
        result = scored("x", reward * scale, knobs=Knobs(verification_reward=scale))
        metrics.count_rollout(result, answer_characters=characters)
    sums = {
        "reward_count": len(pairs),
        "reward_sum": sum(reward for reward, _ in pairs),
        "reward_squares_total": sum(reward**2 for reward, _ in pairs),
        "reward_answer_characters_total": sum(max(0, reward) * length for reward, length in pairs),
        "answer_characters_count": len(pairs),
        "answer_characters_squares_total": sum(length**2 for _, length in pairs),
    }
    assert {name: value(metrics, name) for name in sums} == pytest.approx(sums)


def test_the_spread_within_groups_and_the_judges_share_of_it_are_those_of_the_samples():
    metrics, random = Metrics(), Random(3)
    samples = [(random.randrange(5), random.random(), random.random() / 5) for _ in range(60)]
    for group, reward, std in samples:
        result = scored("x", 10 * reward, reward_std=10 * std, knobs=Knobs(verification_reward=10))
        metrics.count_sample(group, result)
        metrics.count_sample(group, result.model_copy(update={"reward_std": None}))
    squares, noise = (value(metrics, f"group_{name}_squares_total") for name in ("reward", "noise"))
    groups = [[reward for place, reward, _ in samples if place == each] for each in range(5)]
    assert squares == pytest.approx(sum(pvariance(each) * len(each) for each in groups))
    # Of each group's samples all but the first are in the noise.
    assert noise / squares == pytest.approx(group_noise(samples), rel=0.1)


def test_rubrics_of_rows_share_one_series_and_static_ones_have_their_own():
    metrics = Metrics()
    metrics.add_rubrics(["Padding"])
    rubrics = (
        judged("a row's own title", Source.INSTANCE, 0.25),
        judged("Padding", Source.INSTANCE, 0.5),
        judged("Padding", Source.STATIC, 1.0),
        judged("Late set", Source.STATIC, 0.75),
    )
    metrics.count_rollout(scored("x", rubrics=rubrics), answer_characters=1)
    assert value(metrics, "rubric_scores_total", rubric="instance") == 0.75
    assert value(metrics, "rubric_verdicts_total", rubric="instance") == 2
    assert value(metrics, "rubric_scores_total", rubric="Padding") == 1
    assert value(metrics, "rubric_scores_total", rubric="Late set") == 0.75
    assert "own title" not in metrics.exposition("")[0].decode()


def test_every_rubric_has_a_series_and_answers_are_measured_without_reasoning(start, rollout):
    service = start()
    (static,) = service.client.get("/v1/rubrics").json()["sets"]
    before = service.client.get("/metrics").text
    for title in ("instance", *(criterion["title"] for criterion in static["criteria"])):
        assert f'citemark_rubric_verdicts_total{{rubric="{title}"}} 0.0' in before
    answer = "<snippet id=a>It opened in 1871.</snippet>"
    response = f"{'Let me think. ' * 500}<answer>{answer}</answer>"
    service.post(rollout(response=response)).raise_for_status()
    service.post(rollout(response="no answer")).raise_for_status()
    text = service.client.get("/metrics").text
    assert f"citemark_answer_characters_sum {float(len(answer))}" in text
    assert "citemark_answer_characters_count 1.0" in text
