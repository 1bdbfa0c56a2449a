"""The labelled rollouts: what the parser finds is what people labelled."""

import json
from pathlib import Path
from typing import Any

import pytest

from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.format import format_report
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.visible import fold_space

DATA = Path(__file__).parents[3] / "shared" / "data"
NOTES = ("judge_note_outside", "judge_note_in_claim", "delimiter_spoof")


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no labelled data: {name} is not in ../shared/data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_claims_and_sentences_are_the_labelled_ones() -> None:
    for row in rows("rollouts_labelled.jsonl"):
        answer = read_answer(row["response"])
        labelled = [(fold_space(claim["text"]), tuple(claim["ids"])) for claim in row["claims"]]
        assert [(c.text, c.ids) for c in answer.claims] == [c for c in labelled if c[1]], row["id"]
        uncited = [text for text, ids in labelled if not ids]
        assert [sentence.text for sentence in answer.sentences] == uncited, row["id"]


def test_honest_rollouts_pass_every_check() -> None:
    for row in rows("rollouts_labelled.jsonl"):
        sources = read_sources(row["tool_output"], None)
        report = format_report(read_answer(row["response"]), sources)
        assert (report.bonus, report.judge_addressed) == (1.0, ()), row["id"]


def test_attacks_on_the_judge_are_reported() -> None:
    for row in rows("rollouts_adversarial.jsonl"):
        answer = read_answer(row["response"])
        assert bool(answer.judge_addressed) == (row["attack"] in NOTES), row["id"]
