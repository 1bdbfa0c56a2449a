"""`citemark explain`: a graded rollout as a person reads it."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import CitationScore, Failure, FailureKind
from citemark_service.cli.arithmetic import citation_lines
from citemark_service.cli.printable import printable
from command_line import EXAMPLES, Cli, WriteRows
from scripted_service import scored

STEERING = {"Cc", "Cf", "Cs"}
ROLLOUTS = EXAMPLES / "rollouts.jsonl"


@pytest.fixture
def results(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    assert cli("score", ROLLOUTS, "-o", path).exit_code == 0
    return path


def test_a_rollout_is_scored_and_shown_with_its_answer(cli: Cli) -> None:
    result = cli("explain", ROLLOUTS, "--id", "cycle-lane-mediocre")
    assert result.exit_code == 0
    assert "[1✓] <snippet id=S_h1>Injury crashes on Harrow Street" in result.stdout
    assert "[uncited] The study looked at a few years" in result.stdout
    assert "− Off-Query Padding (1 − judged)" in result.stdout
    assert "F1        0.500 = 2 × 0.500 × 0.500 / (0.500 + 0.500)" in result.stdout


def test_the_first_rollout_is_shown_where_none_is_named(cli: Cli) -> None:
    assert cli("explain", ROLLOUTS).stdout.startswith("cycle-lane-good  reward")


def test_fabricated_ids_are_marked(cli: Cli, results: Path) -> None:
    result = cli("explain", results, "--id", "broker-bug-invented")
    assert "✗ rel-5.0.0 fabricated" in result.stdout
    assert "fabricated ids 3" in result.stdout


def test_a_refusal_says_why(cli: Cli, results: Path) -> None:
    result = cli("explain", results, "--id", "light-trial-twice")
    assert "not judged, the response has more than one <answer> block" in result.stdout


def test_a_failure_shows_no_number(cli: Cli, tmp_path: Path) -> None:
    failure = Failure(kind=FailureKind.TIMEOUT, message="too slow", retryable=True)
    failed = scored("a").model_copy(update={"reward": None, "failure": failure})
    path = tmp_path / "results.jsonl"
    path.write_text(failed.model_dump_json())
    shown = cli("explain", path).stdout
    assert "no reward: judge_timeout: too slow (a retry may help)" in shown


def test_the_knobs_of_the_sum_are_shown(cli: Cli) -> None:
    knobs = ["--knob", "verification_reward=10", "--knob", "citation_weight=0.5"]
    shown = cli("explain", ROLLOUTS, "--id", "pumped-hydro-good", *knobs).stdout
    assert "= 10 × (0." in shown
    assert " + 0.5 × 1.000)" in shown


def test_a_rollout_cannot_steer_the_terminal(cli: Cli, rows: WriteRows) -> None:
    hostile = "\x1b[2J[bold]\x9b31m\u202egood\r"
    row = {
        "id": hostile,
        "question": hostile,
        "tool_output": f"<snippet id=S1>{hostile}</snippet>",
        "response": f"<answer><snippet id=S1,{hostile}>{hostile}</snippet> {hostile}.</answer>",
        "positive_rubrics": [hostile],
    }
    result = cli("explain", rows([row]))
    assert result.exit_code == 0
    assert not set(result.stdout) & {"\x1b", "\x9b", "\u202e", "\r"}
    assert "<U+001B>[2J[bold]" in result.stdout


@given(st.text())
def test_printable_text_is_printable_and_keeps_what_was(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(each) for each in shown if each not in "\n\t"} & STEERING
    assert printable(shown) == shown
    if not {unicodedata.category(each) for each in text} & STEERING:
        assert shown == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "nobody"], "has no rollout with id 'nobody'"),
        (["--url", "nowhere"], "must start with http"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli("explain", ROLLOUTS, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_results_are_not_scored_again(cli: Cli, results: Path) -> None:
    result = cli("explain", results, "--judge", "embedded")
    assert result.exit_code == 2
    assert "drop --judge" in result.stderr


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("nonsense", "is not JSON")])
def test_a_file_of_something_else_is_one_line(
    cli: Cli, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    result = cli("explain", path)
    assert result.exit_code == 2
    assert message in result.stderr


def test_where_nothing_was_judged_no_formula_is_shown() -> None:
    citation = CitationScore(
        recall=0, precision=0, f1=0, score=0, claims=1, uncited_factual=None, citations=1,
        fabricated=1, malformed=0, duplicates=0,
    )  # fmt: skip
    assert "=" not in "".join(citation_lines(citation))
