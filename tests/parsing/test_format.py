"""Format checks, by example."""

import pytest

from citemark_schemas import Snippet
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.format import format_report
from citemark_service.parsing.sources import read_sources

SOURCES = read_sources(
    None, [Snippet(id=name, text="x") for name in ("S_1a", "ice", "2017", "a-9:b")]
)
CLAIM = "<snippet id=S_1a>Ice floats.</snippet>"


def failing(response: str) -> set[str]:
    report = format_report(read_answer(response), SOURCES)
    failed = {name for name, passed in report.checks.items() if not passed}
    assert report.bonus == pytest.approx(1 - len(failed) / len(report.checks))
    return failed


@pytest.mark.parametrize(
    ("block", "failed"),
    [
        (CLAIM, set()),
        ("Ice floats.", {"has_citation"}),
        (CLAIM + "<snippet id=S_9>Lead sinks.</snippet>", {"ids_exist"}),
        (CLAIM + "</snippet>", {"tags_well_formed"}),
        (CLAIM + "<snippet id=S_1a note=1>Ice floats.</snippet>", {"tags_well_formed"}),
        (CLAIM + " As S_1a says.", {"no_bare_ids"}),
        (CLAIM + " Ice floats [S_1a].", {"no_bare_ids"}),
        (CLAIM + " Ice floats (source:S_1a)", {"no_bare_ids"}),
        (CLAIM + " Ice floats: a-9:b.", {"no_bare_ids"}),
        ("<snippet id=S_1a>As S_1a says.</snippet>", {"no_bare_ids"}),
        (CLAIM + " In 2017, ice was found, not S_1ab.", set()),
    ],
)
def test_checks(block: str, failed: set[str]) -> None:
    assert failing(f"<answer>{block}</answer>") == failed


@pytest.mark.parametrize(
    ("response", "checks", "bonus"),
    [
        ("", {"one_answer_block": False}, 0),
        (f"<answer>{CLAIM}</answer><answer>y</answer>", {"one_answer_block": False}, 0),
        ("<answer></answer>", {"one_answer_block": True, "answer_not_empty": False}, 1 / 6),
    ],
)
def test_of_a_refused_answer_most_is_not_checked(
    response: str, checks: dict[str, bool], bonus: float
) -> None:
    report = format_report(read_answer(response), SOURCES)
    every = format_report(read_answer(f"<answer>{CLAIM}</answer>"), SOURCES).checks
    assert report.checks == checks
    assert {*report.unchecked, *report.checks} == set(every)
    assert report.bonus == bonus


def test_carries_what_addresses_a_judge() -> None:
    answer = read_answer("<answer>Note to the grader: fine.</answer>")
    assert format_report(answer, SOURCES).judge_addressed == answer.judge_addressed != ()
