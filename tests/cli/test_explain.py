"""`citemark explain`: a graded rollout as a person reads it, and as no rollout can paint it."""

import json
import unicodedata
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import CitationScore, Failure, FailureKind
from citemark_service.printable import figure, printable
from citemark_service.score.explanation import citation_lines
from support.command_line import EXAMPLES, cli
from support.scripted_service import scored

STEERING = {"Cc", "Cf", "Cs"}
ROLLOUTS = EXAMPLES / "rollouts.jsonl"
INVENTED = ("--id", "broker-bug-invented")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scored") / "results.jsonl"
    cli("score", ROLLOUTS, "-o", path, "--judge", "embedded")
    return path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, citemark_url: str) -> dict[str, Path]:
    """What the real service answers for them, in each form; and `errors`, with no result."""
    lines, bad = ROLLOUTS.read_bytes(), b'{"question": " ", "tool_output": "", "response": "r"}\n'
    batch = b'{"items":[%b]}' % b",".join(lines.splitlines())
    sent = {
        "batch": ("score", batch),
        "stream": ("score/stream", bad + lines),
        "errors": ("score/stream", bad),
    }
    bodies = {
        name: httpx.post(f"{citemark_url}/v1/{path}", content=body).raise_for_status().text
        for name, (path, body) in sent.items()
    }
    bodies["indented"] = json.dumps(json.loads(bodies["batch"]), indent=2)
    folder = tmp_path_factory.mktemp("answered")
    for name, text in bodies.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in bodies}


def test_a_rollout_is_scored_and_shown_with_its_answer():
    assert cli("explain", ROLLOUTS).stdout.startswith("cycle-lane-good  reward")
    shown = cli("explain", ROLLOUTS, "--id", "cycle-lane-mediocre").stdout
    assert "[1✓] <snippet id=S_h1>Injury crashes on Harrow Street" in shown
    assert "[uncited] The study looked at a few years" in shown
    assert "− Off-Query Padding (1 − judged)" in shown
    assert "F1        0.500 = 2 × 0.500 × 0.500 / (0.500 + 0.500)" in shown


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("broker-bug-invented", ["✗ rel-5.0.0 fabricated", "fabricated ids 3"]),
        ("light-trial-twice", ["not judged, the response has more than one <answer> block"]),
    ],
)
def test_what_was_wrong_is_shown(results, wanted, parts):
    shown = cli("explain", results, "--id", wanted).stdout
    assert all(part in shown for part in parts)


def test_a_failure_shows_no_number(tmp_path):
    failure = Failure(kind=FailureKind.TIMEOUT, message="too slow", retryable=True)
    path = tmp_path / "results.jsonl"
    path.write_text(scored("a", None, failure=failure).model_dump_json())
    shown = cli("explain", path).stdout
    assert "no reward: judge_timeout: too slow (a retry may help)" in shown


def test_what_was_not_read_is_shown(rows):
    row = {
        "question": "When?",
        "tool_output": "<snippet id=S1>It opened in 1963.</snippet>",
        "response": "<answer>It opened in 1963 [1][2].</answer>",
        "positive_rubrics": ["Says 1963"],
    }
    shown = cli("explain", rows([row])).stdout
    assert "warning   read as citations: <snippet id=…>; not read: 2 numbered [1]" in shown


def test_the_knobs_of_the_sum_are_shown():
    knobs = ["--knob", "verification_reward=10", "--knob", "citation_weight=0.5"]
    shown = cli("explain", ROLLOUTS, "--id", "pumped-hydro-good", *knobs).stdout
    assert " = 10 × 0." in shown
    assert " (rubrics) + 5 × 1.0000 (citations)" in shown


def test_rows_are_read_by_the_flags_of_score(rows, results):
    row = {"ask": "When?", "said": "In 1963.", "rubrics": [{"text": "Says 1963", "severity": 3}]}
    maps = ["--map", "question=ask", "--map", "response=said"]
    flags = [*maps, "--no-sources", "--whole-answers"]
    env = {"CITEMARK_IGNORED_RUBRIC_KEYS": "severity"}
    shown = cli("explain", rows([row]), *flags, env=env, says="never judged: rubrics.*.severity")
    assert "+ Says 1963" in shown.stdout
    cli("explain", rows([row]), *flags, status=2, says="'severity' may be a weight")
    cli("explain", results, "--whole-answers", status=2, says="FILE holds results")


def test_a_rollout_cannot_steer_the_terminal(rows):
    hostile = "\x1b[2J[bold]\x9b31m\u202egood\r"
    row = {
        "id": hostile,
        "question": hostile,
        "tool_output": f"<snippet id=S1>{hostile}</snippet>",
        "response": f"<answer><snippet id=S1,{hostile}>{hostile}</snippet> {hostile}.</answer>",
        "positive_rubrics": [hostile],
    }
    shown = cli("explain", rows([row])).stdout
    assert not set(shown) & {"\x1b", "\x9b", "\u202e", "\r"}
    assert "<U+001B>[2J[bold]" in shown


@given(st.text())
def test_printable_text_is_printable_and_keeps_what_was(text):
    shown = printable(text)
    assert not {unicodedata.category(each) for each in shown if each not in "\n\t"} & STEERING
    assert printable(shown) == shown
    if not {unicodedata.category(each) for each in text} & STEERING:
        assert shown == text


@given(st.floats(-1e6, 1e6), st.sampled_from([".2f", ".3f", "+.2f", ".3g"]))
def test_a_figure_is_its_number_with_a_true_minus(value, form):
    shown = figure(value, form)
    assert "-" not in shown
    assert float(shown.replace("\N{MINUS SIGN}", "-")) == float(f"{value:{form}}")


def test_zero_is_never_negative():
    assert figure(-0.001, ".2f") == "0.00"
    assert figure(-0.001, "+.2f") == "+0.00"
    assert figure(-0.0, ".3g") == "0"


@pytest.mark.parametrize("form", ["batch", "indented", "stream"])
def test_what_a_service_answered_is_explained_alike(
    results: Path, answers: dict[str, Path], form: str
) -> None:
    # By id: a stream's results come as they finish.
    for chosen in (("--id", "cycle-lane-good"), INVENTED):
        shown = cli("explain", answers[form], *chosen).stdout
        assert shown == cli("explain", results, *chosen).stdout


@pytest.mark.parametrize(
    ("form", "chosen", "says"),
    [
        ("stream", ["--id", "0"], "has no result with id '0'; line 1: invalid_request: question: "),
        ("stream", ["--id", "nobody"], "result with id 'nobody'; it has 1 error, without ids"),
        ("stream", ["--judge", "embedded"], "drop --judge"),
        ("errors", [], "has no result; line 1: invalid_request"),
    ],
)
def test_an_error_is_told_where_it_is_asked_for(answers, form, chosen, says):
    cli("explain", answers[form], *chosen, status=2, says=says)


def test_no_line_of_a_pipe_ends_in_blanks(results):
    for file in (results, ROLLOUTS):
        lines = cli("explain", file, "--id", "cycle-lane-mediocre").stdout.splitlines()
        assert len(lines) > 10
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("text", "arguments", "says"),
    [
        (ROLLOUTS.read_text(), ["--id", "nobody"], "has no rollout with id 'nobody'"),
        (ROLLOUTS.read_text(), ["--url", "nowhere"], "must start with http"),
        ("", [], "is empty"),
        ("nonsense", [], "is not JSON"),
        ('{"items":[]}', [], "Error: "),
        ('{"items":[{"id":"a"}]}', [], "Error: "),
        ('{"line":1,"type":"x"}', [], "Error: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, arguments, says):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    cli("explain", path, *arguments, status=2, says=says)


def test_where_nothing_was_judged_no_formula_is_shown():
    citation = CitationScore(
        recall=0, precision=0, f1=0, score=0, claims=1, uncited_factual=None, citations=1,
        fabricated=1, malformed=0, duplicates=0,
    )  # fmt: skip
    assert "=" not in "".join(citation_lines(citation))
