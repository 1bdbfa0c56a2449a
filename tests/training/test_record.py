"""What a run leaves for people: journal, means, samples, card, plot."""

import html
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from citemark_grpo.training.journal import (
    Journal,
    JournalLine,
    draw_rewards,
    read_lines,
    smooth,
)
from citemark_grpo.training.pages import ModelCard, SamplePages, pick_samples, to_cell, to_yaml
from citemark_grpo.training.plan import plan_run
from citemark_grpo.training.reward import JudgedRollout
from citemark_grpo.training.watch import RubricNames, RunWatch, average_step, metric_name
from citemark_schemas import (
    ClaimScore,
    Failure,
    FailureKind,
    Knobs,
    Polarity,
    Refusal,
    RefusalKind,
    RubricScore,
    Source,
    Versions,
)
from support.scripted_service import scored

HOSTILE = "</pre><script>alert(1)</script> {{ 7*7 }} \x1b[31m \u202e \x00 | ` \n---\ntags: [x]"


def rubric(title, score, source=Source.INSTANCE):
    return RubricScore(
        title=title, polarity=Polarity.POSITIVE, source=source, weight=1.0, raw=score, score=score
    )


def result(reward=5.0, **more):
    """A judged rollout, or a failed one where the reward is None."""
    late = Failure(kind=FailureKind.TIMEOUT, message="late", retryable=True)
    made = {
        "rubric_reward": None if reward is None else 0.4,
        "failure": late if reward is None else None,
        "knobs": Knobs(verification_reward=10.0),
        "versions": Versions(service="1.2", scoring="1", prompts="p1", static_rubrics="v3@abc"),
    }
    return scored("0", reward, **{**made, **more})


REFUSED = result(-1.0, refusal=Refusal(kind=RefusalKind.NOT_STOPPED, message="cut"))


def judged(found, question="Why?", response="So."):
    return JudgedRollout(question, response, "stop", found)


def line(step, **metrics):
    return JournalLine(step, 1.5, [0.25, None], metrics)


@pytest.mark.parametrize("torn", [b"", b'{"step": 4, "ti', b'{"step": 4}\n', b"\xff\n", b"[]\n"])
def test_a_journal_goes_back_to_the_step_that_is_resumed(torn, tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for step in (1, 2, 3):
        journal.add(line(step))
    with path.open("ab") as file:
        file.write(torn)
    assert list(read_lines(path)) == [line(step) for step in (1, 2, 3)]
    journal.rewind(2)
    journal.add(line(3, again=1.0))
    assert [each.step for each in read_lines(path)] == [1, 2, 3]
    assert list(read_lines(path))[-1].metrics == {"again": 1.0}
    journal.rewind(0)
    assert path.read_bytes() == b""


def test_means_are_before_the_scale_and_leave_failures_out():
    rollouts = [judged(result(5.0)), judged(result(7.0)), judged(result(None)), judged(None)]
    means = average_step(rollouts, RubricNames())
    assert means["score/reward"] == pytest.approx(0.6)
    assert means["score/reward_std"] == pytest.approx(0.1)
    assert means["score/failure_rate"] == 0.5
    assert means["score/rubric_reward"] == pytest.approx(0.4)
    assert "score/judge_failed" not in means


def test_a_penalty_is_not_scaled_and_what_was_not_judged_has_no_mean():
    assert judged(REFUSED).unscaled == -1.0
    assert average_step([judged(None)], RubricNames()) == {"score/failure_rate": 1.0}
    assert average_step([], RubricNames()) == {}


def test_static_titles_have_a_name_at_once_and_others_when_they_return():
    names = RubricNames()
    rubrics = (rubric("Citation Discipline", 0.5, Source.STATIC), rubric("Tides", 1.0))
    found = result(rubrics=rubrics)
    first = average_step([judged(found, "a"), judged(found, "a")], names)
    assert first["rubric/citation_discipline"] == 0.5
    assert first["rubric/instance_positive"] == 1.0
    assert "rubric/tides" not in first
    assert average_step([judged(found, "b")], names)["rubric/tides"] == 1.0


def test_titles_never_make_more_names_than_the_limit():
    names = RubricNames(limit=3)
    found = result(rubrics=tuple(rubric(f"t{n}", 1.0, Source.STATIC) for n in range(50)))
    assert len([n for n in average_step([judged(found)], names) if n.startswith("rubric/t")]) == 3


@given(st.text())
def test_a_title_becomes_a_plain_name(title):
    assert re.fullmatch(r"[a-z0-9_]{1,48}", metric_name(title))


@given(st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=40), st.integers(0, 9))
def test_samples_reach_from_the_worst_to_the_best(rewards, count):
    rollouts = [judged(result(reward)) for reward in rewards]
    chosen = pick_samples(rollouts, count)
    assert len(chosen) == min(count, len(rollouts))
    if count >= 2 and len(rollouts) > count:
        known = [reward for reward in rewards if reward is not None]
        assert chosen[-1].unscaled == (max(known) / 10 if known else None)
        assert (chosen[0].unscaled is None) == (None in rewards)


def test_a_page_shows_hostile_text_and_runs_none_of_it(tmp_path):
    claim = ClaimScore(text=HOSTILE, ids=("S1",), support=1.0, substantive=1.0, span=(0, 1))
    found = result(rubrics=(rubric(HOSTILE, 1.0),), claims=(claim,))
    pages = SamplePages(tmp_path)
    pages.write([judged(found, HOSTILE, HOSTILE), judged(None), judged(REFUSED)], 12)
    page = (tmp_path / "step-000012.html").read_text()
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    assert html.escape("</pre><script>") in page
    assert not set("\x1b\x00") & set(page)
    assert "default-src 'none'" in page
    records = (tmp_path / "step-000012.jsonl").read_text().splitlines()
    assert {json.loads(each)["response"] for each in records} == {HOSTILE, "So."}
    pages.write([judged(None, "q" * 10**6, "r" * 10**6)], 1)
    assert (tmp_path / "step-000001.html").stat().st_size < 100_000


@given(st.text(st.characters(codec="utf-8")))
def test_any_value_is_one_yaml_scalar(text):
    assert YAML(typ="safe").load(f"key: {to_yaml(text)}\n") == {"key": text}


@given(st.text())
def test_any_value_is_one_cell(text):
    inside = to_cell(text)
    assert inside[0] == inside[-1] == "`"
    assert not set("\n\r|`") & set(inside[1:-1])


def card_of(known=None, **more):
    flags = {"model_name_or_path": "example/base", "run_name": "tide", "dataset": "rows.jsonl"}
    plan = plan_run({**flags, "verification_reward": 10.0, **more})
    text = ModelCard(plan, "p1", last_result=lambda: known).text(120)
    _, front, body = text.split("---\n", 2)
    return YAML(typ="safe").load(front), body


def test_a_card_says_what_the_model_is_and_what_it_was_paid_for():
    front, body = card_of(result())
    assert "grpo" in front.pop("tags")
    assert front == {
        "license": "apache-2.0", "base_model": "example/base",
        "pipeline_tag": "text-generation", "library_name": "transformers",
    }  # fmt: skip
    for said in ("120 optimizer steps", "| `verification_reward` | `10.0` |", "`v3@abc`",
                 "`scripted`", "| `learning_rate` | `5e-06` |",
                 "| `non_stop_penalty` | `false` |", "| `prompt` | `p1` |"):  # fmt: skip
        assert said in body
    _, body = card_of()
    assert "Nothing had been judged" in body
    assert "| `citation_weight` | `0.2` |" in body


def test_hostile_names_stay_in_their_place():
    front, body = card_of(model_name_or_path=HOSTILE, run_name=HOSTILE)
    assert set(front) == {"license", "base_model", "pipeline_tag", "library_name", "tags"}
    assert front["base_model"] == HOSTILE
    assert "<script>" not in re.sub(r"`[^`\n]*`", "", body)


def test_a_watch_writes_one_line_a_step(tmp_path):
    journal, pages = tmp_path / "journal.jsonl", tmp_path / "rollouts"
    watch = RunWatch(Journal(journal), SamplePages(pages), pages_every=2)
    watch.begin(0)
    unfit = {"none": None, "text": "x", "nan": math.nan, "inf": math.inf}
    for step in (1, 2):
        watch.add_generation([judged(result(5.0)), judged(None)])
        metrics = watch.metrics()
        watch.write_step(step, {**metrics, "kl": 0.5, **unfit})
    watch.write_step(2, {"train_runtime": 3.0})
    written = list(read_lines(journal))
    assert [(each.step, each.rewards) for each in written] == [(1, [0.5, None]), (2, [0.5, None])]
    assert written[0].metrics["score/failure_rate"] == 0.5
    assert written[0].metrics == {**metrics, "kl": 0.5}, "finite numbers only"
    assert {path.name for path in pages.iterdir()} == {"step-000002.html", "step-000002.jsonl"}
    assert watch.last_result == result(5.0)


@given(st.lists(st.floats(-1, 1), min_size=1))
def test_smoothing_stays_within_what_was_seen(values):
    found = smooth(values)
    assert found[0] == pytest.approx(values[0])
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in found)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_the_plot_is_a_picture(count, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib, of the extra train")
    metrics = {"score/reward_std": 0.1, "kl": 0.01, "score/rubric_reward": 0.5}
    written = [
        line(n, **metrics, **{"score/reward": n / 30, "score/failure_rate": float(n == 3)})
        for n in range(count)
    ]
    draw_rewards(written, tmp_path / "plot.png", title="a $run_")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
