"""The contract of the judge's rules: a reader who keeps them passes, who misreads one does not."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from citemark_schemas import ClaimVerdict, CriterionVerdict, Polarity, SentenceVerdict
from citemark_service.agreement.cases import judge_cases, read_cases
from citemark_service.cli.agree import command
from citemark_service.errors import DataError
from citemark_service.judges.tasks import CitationVerdicts, Judge, JudgeIdentity

FILE = Path(__file__).parents[1] / "labelled" / "cases.jsonl"
KNOWN = {repr(case.to_task()): case.digits for case in read_cases(FILE)}
SUPPORT = {
    "takes the topic for support": lambda s, u, c: ("2", u, c),
    "overlooks side parts": lambda s, u, c: ("2" if s == "1" else s, u, c),
    "wants every side part": lambda s, u, c: ("0" if s == "1" else s, u, c),
    "misses denials and directions": lambda s, u, c: ("1" if s == "0" else s, u, c),
    "ties use to support": lambda s, u, c: (s, "0" if s == "0" else "1", c),
    "finds everything useful": lambda s, u, c: (s, "1", c),
    "gives every id a 1": lambda s, u, c: (s, u, "1" * len(c)),
    "ties contribution to support": lambda s, u, c: (s, u, "0" * len(c) if s == "0" else c),
}
FACT = {"takes every sentence for a fact": "1", "takes no sentence for a fact": "0"}
LEVEL = {
    "takes each defect for a whole one": lambda v, negative: "2" if negative and v == "1" else v,
    "bends defects towards the answer": lambda v, negative: str(2 - int(v)) if negative else v,
}


class CaseReader(Judge):
    """Knows the right digits, but for one rule that it misreads."""

    identity = JudgeIdentity("case reader", "none")

    def __init__(self, misreads: str = "") -> None:
        self.misreads = misreads

    async def judge_criteria(self, task, *, meter, deadline):
        digit = KNOWN[repr(task)]
        if self.misreads in LEVEL:
            negative = task.criteria[0].polarity is Polarity.NEGATIVE
            digit = LEVEL[self.misreads](digit, negative)
        return (CriterionVerdict(score=int(digit) / 2),)

    async def judge_citations(self, task, *, meter, deadline):
        digits = KNOWN[repr(task)]
        if task.sentences:
            factual = float(FACT.get(self.misreads, digits))
            return CitationVerdicts((), (SentenceVerdict(factual=factual),))
        keep = lambda s, u, c: (s, u, c)  # noqa: E731
        s, u, c = SUPPORT.get(self.misreads, keep)(digits[0], digits[1], digits[2:])
        each = dict(zip(task.claims[0].ids, map(float, c), strict=False))
        verdict = ClaimVerdict(support=int(s) / 2, substantive=float(u), contributing=each)
        return CitationVerdicts((verdict,), ())


@pytest.mark.parametrize("misreads", ["", *SUPPORT, *FACT, *LEVEL])
def test_only_a_reader_who_keeps_every_rule_passes(misreads):
    findings = asyncio.run(judge_cases(CaseReader(misreads), FILE, concurrency=4))
    assert all(finding.right for finding in findings) == (misreads == "")


def test_there_are_twelve_kinds_of_ten_distinct_cases():
    kinds = Counter(case.kind for case in read_cases(FILE))
    assert len(kinds) == 12
    assert set(kinds.values()) == {10}
    assert len(KNOWN) == 120


def test_the_command_prints_what_a_judge_decides_wrongly():
    outcome = CliRunner().invoke(command, ["--cases", str(FILE), "--judge", "embedded"])
    assert outcome.exit_code == 1
    assert "wrongly decided" in outcome.output
    assert outcome.output.splitlines()[-1].split()[-1] == "120"


def test_the_command_keeps_compares_and_draws(tmp_path):
    row = {"question": "", "claim": "Rain fell.", "snippets": [{"id": "a", "text": "Rain fell."}]}
    rows = [row | {"human_label": label} for label in ("supported", "not_supported")]
    (file := tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept, drawn = str(tmp_path / "kept.json"), tmp_path / "drawn.svg"
    words = [str(file), "--judge", "embedded", "--output", kept, "--picture", str(drawn), "--card"]
    first = CliRunner().invoke(command, words)
    assert first.exit_code == 0, first.output
    assert 'model: "embedded"' in first.output
    assert "rows.jsonl, 2 rows" in drawn.read_text()
    second = CliRunner().invoke(command, [str(file), "--judge", "embedded", "--against", kept])
    assert "both judged" in second.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digits": "2"}, "needs 2 digits, not 1"),
        ({"claim": None}, "needs one of claim, sentence, or response with criterion"),
        ({"digit": "21"}, "digit"),
    ],
)
def test_a_row_that_is_no_case_is_refused(change, words, tmp_path):
    row = json.loads(FILE.read_text().splitlines()[0]) | change
    file = tmp_path / "cases.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(DataError, match=words):
        read_cases(file)
