"""`citemark explain`: a graded rollout as a person reads it."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import CitationScore, Failure, FailureKind, Problem, ScoreResult, StreamLine
from citemark_service.cli import main
from citemark_service.printable import printable
from citemark_service.score.explanation import citation_lines
from support.command_line import EXAMPLES, Cli, WriteRows
from support.scripted_service import scored

STEERING = {"Cc", "Cf", "Cs"}
ROLLOUTS = EXAMPLES / "rollouts.jsonl"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scored") / "results.jsonl"
    arguments = ["score", str(ROLLOUTS), "-o", str(path), "--judge", "embedded"]
    foreign = {name: None for name in os.environ if name.startswith("CITEMARK_")}
    assert CliRunner().invoke(main, arguments, env=foreign).exit_code == 0
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


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("broker-bug-invented", ["✗ rel-5.0.0 fabricated", "fabricated ids 3"]),
        ("light-trial-twice", ["not judged, the response has more than one <answer> block"]),
    ],
)
def test_what_was_wrong_is_shown(cli: Cli, results: Path, wanted: str, parts: list[str]) -> None:
    shown = cli("explain", results, "--id", wanted).stdout
    assert all(part in shown for part in parts)


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
    assert " = 10 × 0." in shown
    assert " (rubrics) + 5 × 1.0000 (citations)" in shown


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


def as_batch(lines: list[str]) -> str:
    return f'{{"items":[{",".join(lines)}]}}'


def as_indented_batch(lines: list[str]) -> str:
    return json.dumps(json.loads(as_batch(lines)), indent=2)


def as_stream(lines: list[str]) -> str:
    error = Problem(error="invalid_request", message="question: must not be blank")
    refused = StreamLine(line=1, type="error", error=error)
    scored = (
        StreamLine(line=number, type="result", result=ScoreResult.model_validate_json(line))
        for number, line in enumerate(lines, start=2)
    )
    return "".join(each.model_dump_json() + "\n" for each in (refused, *scored))


@pytest.mark.parametrize("form", [as_batch, as_indented_batch, as_stream])
def test_what_a_service_answered_is_explained_alike(
    cli: Cli, results: Path, tmp_path: Path, form: Callable[[list[str]], str]
) -> None:
    answered = tmp_path / "answered.json"
    answered.write_text(form(results.read_text().splitlines()))
    for chosen in ([], ["--id", "broker-bug-invented"]):
        result = cli("explain", answered, *chosen)
        assert result.exit_code == 0
        assert result.stdout == cli("explain", results, *chosen).stdout


def test_answers_of_the_real_service_are_explained(
    cli: Cli, citemark_url: str, tmp_path: Path
) -> None:
    batch = b'{"items":[%b]}' % b",".join(ROLLOUTS.read_bytes().splitlines())
    sent = {"score": batch, "score/stream": b"nonsense\n" + ROLLOUTS.read_bytes()}
    for path, body in sent.items():
        answer = httpx.post(f"{citemark_url}/v1/{path}", content=body)
        assert answer.status_code == 200
        answered = tmp_path / "answered.json"
        answered.write_bytes(answer.content)
        result = cli("explain", answered, "--id", "broker-bug-invented")
        assert result.exit_code == 0
        assert "✗ rel-5.0.0 fabricated" in result.stdout


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (["--id", "0"], "has no result with id '0'; line 1: invalid_request: question: must"),
        (["--id", "nobody"], "has no result with id 'nobody'; it has 1 error, without ids"),
        (["--judge", "embedded"], "drop --judge"),
        (None, "has no result; line 1: invalid_request"),
    ],
)
def test_an_error_is_told_where_it_is_asked_for(
    cli: Cli, results: Path, tmp_path: Path, chosen: list[str] | None, told: str
) -> None:
    answered = tmp_path / "answered.jsonl"
    lines = [] if chosen is None else results.read_text().splitlines()
    answered.write_text(as_stream(lines))
    result = cli("explain", answered, *(chosen or []))
    assert result.exit_code == 2
    assert told in result.stderr


def test_no_line_of_a_pipe_ends_in_blanks(cli: Cli, results: Path) -> None:
    for file in (results, ROLLOUTS):
        lines = cli("explain", file, "--id", "cycle-lane-mediocre").stdout.splitlines()
        assert len(lines) > 10
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("nonsense", "is not JSON"),
        *((text, "Error: ") for text in ('{"items":[]}', '{"items":[{"id":"a"}]}')),
        ('{"line":1,"type":"x"}', "Error: "),
    ],
)
def test_a_file_of_something_else_is_one_line(
    cli: Cli, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    result = cli("explain", path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_where_nothing_was_judged_no_formula_is_shown() -> None:
    citation = CitationScore(
        recall=0, precision=0, f1=0, score=0, claims=1, uncited_factual=None, citations=1,
        fabricated=1, malformed=0, duplicates=0,
    )  # fmt: skip
    assert "=" not in "".join(citation_lines(citation))
