"""The rows that `make train-demo` learns from, as the embedded judge sees them."""

import json
import re
from statistics import fmean
from typing import Any

import pytest

from citemark_grpo import score
from citemark_schemas import Knobs
from citemark_schemas.envelope import rollout_of
from support.command_line import EXAMPLES

SETS = ("rows", "warm_start")
# As examples/train_demo.py sets them.
KNOBS = Knobs(instance_rubrics_only=True, citation_weight=0.5)

_SNIPPET = re.compile(r"<snippet id=(\w+)>(.*?)</snippet>")
_CITED = re.compile(r"<answer><snippet id=(\w+)>(.*)</snippet></answer>")


def rows_of(name: str) -> list[dict[str, Any]]:
    path = EXAMPLES / "train" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(row):
    """The ideal answer, which cites and copies one of three snippets, and what may come instead."""
    ideal = row["metadata"]["ideal"]
    ((cited, fact),) = _CITED.findall(ideal)
    snippets = dict(_SNIPPET.findall(row["tool_output"]))
    assert len(snippets) == 3
    assert snippets.pop(cited) == fact
    other, beside = next(iter(snippets.items()))
    return {
        "ideal": ideal,
        "uncited": f"<answer>{fact}</answer>",
        "invented id": f"<answer><snippet id=z0>{fact}</snippet></answer>",
        "another's id": f"<answer><snippet id={other}>{fact}</snippet></answer>",
        "another snippet": f"<answer><snippet id={other}>{beside}</snippet></answer>",
        "the question": f"<answer><snippet id={cited}>{row['question']}</snippet></answer>",
        "a word": f"<answer><snippet id={cited}>yes</snippet></answer>",
        "no block": f"<snippet id={cited}>{fact}</snippet>",
    }


def rewards_of(url, rows):
    """The reward of every kind of answer, row by row."""
    asked = [(kind, row, text) for row in rows for kind, text in answers(row).items()]
    rollouts = [rollout_of({"row": row}, response=text) for _, row, text in asked]
    results = score(url, [each.model_copy(update={"id": None}) for each in rollouts], KNOBS)
    rewards: dict[str, list[float]] = {}
    for (kind, _, _), result in zip(asked, results, strict=True):
        assert result.reward is not None
        rewards.setdefault(kind, []).append(result.reward)
    return rewards


@pytest.mark.parametrize("name", SETS)
def test_nothing_earns_more_than_the_ideal_answer(name, citemark_url):
    rows = rows_of(name)
    rewards = rewards_of(citemark_url, rows)
    for kind in rewards.keys() - {"ideal"}:
        for row, best, other in zip(rows, rewards["ideal"], rewards[kind], strict=True):
            assert best > other + 0.1, (row["id"], kind)
    if name == "rows":
        check_what_is_no_cited_answer(rewards)


def check_what_is_no_cited_answer(rewards):
    means = {kind: fmean(each) for kind, each in rewards.items()}
    assert means["ideal"] > 1.3
    assert means["no block"] == means["a word"] == 0
    for kind, mean in means.items():
        assert kind == "ideal" or mean < means["ideal"] - 0.4, means


def test_no_prompt_of_the_warm_start_returns_in_training():
    shown, trained = map(rows_of, SETS)
    for field in ("id", "question", "tool_output"):
        assert not {row[field] for row in shown} & {row[field] for row in trained}
    told = {text for row in shown for _, text in _SNIPPET.findall(row["tool_output"])}
    assert not told & {text for row in trained for _, text in _SNIPPET.findall(row["tool_output"])}


def test_every_fifth_of_the_run_sees_every_prompt_once():
    """Else the first and the last fifth could not be compared."""
    script = (EXAMPLES / "train_demo.py").read_text()
    (steps,) = map(int, re.findall(r'"embedded": (\d+)', script))
    (prompts,) = map(int, re.findall(r'"num_unique_prompts_rollout": (\d+)', script))
    assert prompts * steps == 5 * len(rows_of("rows"))
