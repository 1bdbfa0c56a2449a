"""What the dashboards compute rewards, rubrics and the pull of length from."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Knobs, Polarity, RubricScore, Source
from citemark_service.telemetry.metrics import Metrics
from support.running_service import Build, Start
from support.scripted_service import scored

Pairs = list[tuple[float, int]]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"citemark_{name}", labels)
    assert found is not None, name
    return found


def correlation(metrics: Metrics) -> float:
    n, y = value(metrics, "reward_count"), value(metrics, "reward_sum")
    x = value(metrics, "answer_characters_sum")
    xy = value(metrics, "reward_answer_characters_total")
    xx = value(metrics, "answer_characters_squares_total")
    yy = value(metrics, "reward_squares_total")
    return (n * xy - x * y) / math.sqrt((n * xx - x * x) * (n * yy - y * y))


def watched(pairs: Pairs, scale: float = 1.0) -> Metrics:
    metrics = Metrics()
    for reward, characters in pairs:
        result = scored("x", reward * scale, knobs=Knobs(verification_reward=scale))
        metrics.count_rollout(result, answer_characters=characters)
    return metrics


def judged(title: str, source: Source, score: float) -> RubricScore:
    return RubricScore(
        title=title, polarity=Polarity.POSITIVE, source=source, weight=1.0, raw=score, score=score
    )


def test_rewards_that_follow_the_length_correlate_fully() -> None:
    rising = [(step / 10, 100 + 50 * step) for step in range(10)]
    falling = [(1 - reward, characters) for reward, characters in rising]
    assert correlation(watched(rising)) == pytest.approx(1)
    assert correlation(watched(falling)) == pytest.approx(-1)


def test_a_reward_below_zero_is_counted() -> None:
    metrics = watched([(-0.25, 100), (0.5, 100)])
    assert value(metrics, "reward_count") == 2
    assert value(metrics, "reward_sum") == pytest.approx(0.25)
    assert value(metrics, "reward_answer_characters_total") == pytest.approx(50)


@settings(max_examples=25)  # each makes a registry of its own
@given(
    st.lists(st.tuples(st.floats(0, 1.2), st.integers(1, 100_000)), min_size=2, max_size=20),
    st.sampled_from([1.0, 10.0]),
)
def test_the_sums_are_those_of_the_rollouts_whatever_the_scale(pairs: Pairs, scale: float) -> None:
    metrics = watched(pairs, scale)
    expected = sum(reward * characters for reward, characters in pairs)
    assert value(metrics, "reward_answer_characters_total") == pytest.approx(expected)
    assert value(metrics, "reward_squares_total") == pytest.approx(sum(r * r for r, _ in pairs))
    assert value(metrics, "answer_characters_squares_total") == sum(c * c for _, c in pairs)
    assert value(metrics, "answer_characters_count") == value(metrics, "reward_count") == len(pairs)


def test_rubrics_of_rows_share_one_series_and_static_ones_have_their_own() -> None:
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


def test_every_rubric_has_a_series_and_answers_are_measured_without_reasoning(
    start: Start, rollout: Build
) -> None:
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
