"""The labelled rollouts: what the parser finds is what people labelled."""

from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.format import format_report
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.visible import fold_space
from support.examples import labelled_rows

NOTES = ("judge_note_outside", "judge_note_in_claim", "delimiter_spoof")


def test_claims_and_sentences_are_the_labelled_ones() -> None:
    for row in labelled_rows("rollouts_labelled.jsonl"):
        answer = read_answer(row["response"])
        labelled = [(fold_space(claim["text"]), tuple(claim["ids"])) for claim in row["claims"]]
        assert [(c.text, c.ids) for c in answer.claims] == [c for c in labelled if c[1]], row["id"]
        uncited = [text for text, ids in labelled if not ids]
        assert [sentence.text for sentence in answer.sentences] == uncited, row["id"]


def test_honest_rollouts_pass_every_check() -> None:
    for row in labelled_rows("rollouts_labelled.jsonl"):
        sources = read_sources(row["tool_output"], None)
        report = format_report(read_answer(row["response"]), sources)
        assert (report.bonus, report.judge_addressed) == (1.0, ()), row["id"]


def test_attacks_on_the_judge_are_reported() -> None:
    for row in labelled_rows("rollouts_adversarial.jsonl"):
        answer = read_answer(row["response"])
        assert bool(answer.judge_addressed) == (row["attack"] in NOTES), row["id"]
