"""The rows that `make train-demo` learns from, as the embedded judge sees them."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pytest

from citemark_grpo import ScoreClient
from citemark_schemas import Knobs
from citemark_schemas.envelope import rollout_of
from support.command_line import EXAMPLES

SETS = ("rows", "warm_start")
# As examples/train_demo.py sets them.
KNOBS = Knobs(instance_rubrics_only=True, citation_weight=0.5)

_SNIPPET = re.compile(r"<snippet id=(\w+)>(.*?)</snippet>")
_CITED = re.compile(r"<answer><snippet id=(\w+)>(.*)</snippet></answer>")


def ideal_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """The id that the ideal answer cites, and what it says."""
    found = _CITED.fullmatch(row["metadata"]["ideal"])
    assert found is not None
    return found[1], found[2]


def rows_of(name: str) -> list[dict[str, Any]]:
    path = EXAMPLES / "train" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(row: Mapping[str, Any]) -> dict[str, str]:
    """The ideal answer, and what a policy may write instead."""
    cited, fact = ideal_of(row)
    other, beside = next(pair for pair in _SNIPPET.findall(row["tool_output"]) if pair[0] != cited)
    return {
        "ideal": row["metadata"]["ideal"],
        "uncited": f"<answer>{fact}</answer>",
        "invented id": f"<answer><snippet id=z0>{fact}</snippet></answer>",
        "another's id": f"<answer><snippet id={other}>{fact}</snippet></answer>",
        "another snippet": f"<answer><snippet id={other}>{beside}</snippet></answer>",
        "the question": f"<answer><snippet id={cited}>{row['question']}</snippet></answer>",
        "a word": f"<answer><snippet id={cited}>yes</snippet></answer>",
        "no block": f"<snippet id={cited}>{fact}</snippet>",
    }


def scored(url: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The reward of every kind of answer, row by row."""
    asked = [(kind, row, text) for row in rows for kind, text in answers(row).items()]
    rollouts = [rollout_of({"row": row}, response=text) for _, row, text in asked]

    async def results() -> list[Any]:
        async with ScoreClient(url) as client:
            return await client.score(
                [each.model_copy(update={"id": None}) for each in rollouts], KNOBS
            )

    rewards: dict[str, list[float]] = {}
    for (kind, _, _), result in zip(asked, asyncio.run(results()), strict=True):
        rewards.setdefault(kind, []).append(result.reward)
    return rewards


@pytest.mark.parametrize("name", SETS)
def test_the_ideal_answer_copies_a_snippet_of_its_row(name):
    for row in rows_of(name):
        assert ideal_of(row) in _SNIPPET.findall(row["tool_output"])
        assert len({snippet for snippet, _ in _SNIPPET.findall(row["tool_output"])}) == 3


@pytest.mark.parametrize("name", SETS)
def test_nothing_earns_more_than_the_ideal_answer(name, citemark_url):
    rewards = scored(citemark_url, rows_of(name))
    ideal = rewards.pop("ideal")
    for kind, others in rewards.items():
        for row, best, other in zip(rows_of(name), ideal, others, strict=True):
            assert best > other + 0.1, (row["id"], kind)


def test_what_is_no_cited_answer_earns_far_less(citemark_url):
    means = {kind: fmean(each) for kind, each in scored(citemark_url, rows_of("rows")).items()}
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
