"""`citemark score`: files in, results out, by a judge here or by a service on a real socket."""

import json
import signal
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pydantic import SecretStr

from citemark_schemas import ScoreResult
from support.command_line import EXAMPLES, Cli, Start, WriteRows
from support.running_service import begin
from support.scripted_service import Service, status

ROW = {
    "question": "Since when has the ferry run?",
    "tool_output": "<snippet id=S1>The ferry has run since 1963.</snippet>",
    "response": "<answer><snippet id=S1>The ferry has run since 1963.</snippet></answer>",
    "positive_rubrics": ["Gives 1963"],
}
ROLLOUTS = EXAMPLES / "rollouts.jsonl"


def named(*ids: str) -> list[dict[str, Any]]:
    return [{**ROW, "id": name} for name in ids]


UNDER = "under citation_weight 0.2, this run has 0.9"
FORTY = named(*map(str, range(40)))


def results_of(text: str) -> list[ScoreResult]:
    return [ScoreResult.model_validate_json(line) for line in text.splitlines()]


def ids_of(text: str) -> list[str]:
    return [result.id for result in results_of(text)]


def assert_one_line_error(result: Result, *parts: str) -> None:
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert all(part in result.stderr for part in parts), result.stderr


def test_the_examples_rank_as_anyone_would_rank_them(cli: Cli) -> None:
    result = cli("score", ROLLOUTS)
    assert result.exit_code == 0
    rewards = {each.id: each.reward or 0.0 for each in results_of(result.stdout)}
    groups: dict[str, list[tuple[int, float]]] = {}
    for row in map(json.loads, ROLLOUTS.read_text().splitlines()):
        pair = (row["metadata"]["rank"], rewards[row["id"]])
        groups.setdefault(row["metadata"]["group"], []).append(pair)
    assert len(groups) == 4
    for pairs in groups.values():
        for rank, reward in pairs:
            assert all(reward > worse for other, worse in pairs if other > rank), pairs


def test_a_service_gives_what_this_process_gives(cli: Cli, citemark_url: str) -> None:
    run = ["score", ROLLOUTS, "--knob", "citation_weight=0.5"]
    here, there = (results_of(cli(*run, *more).stdout) for more in ([], ["--url", citemark_url]))
    by_id = {result.id: result.reward for result in there}
    assert {result.id: result.reward for result in here} == by_id
    assert all(result.knobs.citation_weight == 0.5 for result in there)


def test_no_rows_are_no_failure(cli: Cli, rows: WriteRows) -> None:
    result = cli("score", rows([]))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 judged, 0 refused, 0 failed\n"


def test_standard_input_is_read(cli: Cli) -> None:
    result = cli("score", "-", input=json.dumps(ROW))
    assert ids_of(result.stdout) == ["0"]
    assert "1 judged, 0 refused, 0 failed; mean reward 1." in result.stderr


def test_bad_lines_do_not_stop_the_others(cli: Cli, rows: WriteRows) -> None:
    path = rows([*named("a"), {**ROW, "citation_wieght": 1}, *named("a", "b")])
    with path.open("a") as file:
        file.write("{")
    result = cli("score", path)
    assert result.exit_code == 2
    assert sorted(ids_of(result.stdout)) == ["a", "b"]
    assert "line 3: id 'a' is that of line 1 already" in result.stderr
    assert "line 5: is not JSON" in result.stderr
    assert "3 bad lines" in result.stderr


def test_unknown_columns_are_told_once(cli: Cli, rows: WriteRows) -> None:
    result = cli("score", rows([{**row, "split": 1, "hash": 2} for row in named("a", "b")]))
    assert result.exit_code == 0
    assert result.stderr.count("moved into metadata, never judged: split, hash") == 1


def test_what_only_the_service_knows_to_be_wrong_is_a_bad_line_too(
    cli: Cli, rows: WriteRows, citemark_url: str
) -> None:
    path = rows([*named("a"), {**ROW, "static_rubrics": "v99"}])
    for options in ([], ["--url", citemark_url]):
        result = cli("score", path, *options)
        assert result.exit_code == 2
        assert ids_of(result.stdout) == ["a"]
        assert "line 2: " in result.stderr
        assert "v99" in result.stderr


def test_a_run_is_resumed(cli: Cli, rows: WriteRows, tmp_path: Path, service: Service) -> None:
    output = tmp_path / "results.jsonl"
    service.steps = [status(500)]
    options = ["-o", output, "--url", service.url, "--concurrency", "1"]
    path = rows(named("a", "b", "c"))
    first = cli("score", path, *options)
    assert first.exit_code == 1
    assert "line 1 (a): the service answered 500" in first.stderr
    assert ids_of(output.read_text()) == ["b", "c"]
    second = cli("score", path, *options)
    assert second.exit_code == 0
    assert "1 judged, 0 refused, 0 failed, 2 kept from before" in second.stderr
    assert ids_of(output.read_text()) == ["a", "b", "c"]
    assert len(service.requests) == 4


def test_an_interrupted_run_leaves_a_file_that_can_be_resumed(
    cli: Cli, start: Start, rows: WriteRows, tmp_path: Path, service: Service
) -> None:
    output, path = tmp_path / "results.jsonl", rows(FORTY)
    service.delay_s = 0.1
    options = ["-o", output, "--url", service.url, "--concurrency", "2"]
    process = start("score", path, *options)
    while not output.exists() or output.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    done = ids_of(output.read_text())
    assert 3 <= len(done) < 40
    service.delay_s = 0.0
    assert cli("score", path, *options).exit_code == 0
    assert ids_of(output.read_text()) == [str(number) for number in range(40)]
    assert 40 <= len(service.requests) <= 42


def test_a_busy_service_is_asked_again(cli: Cli, rows: WriteRows, service: Service) -> None:
    service.steps = [status(429, retry_after="1"), status(503)]
    result = cli("score", rows(named("a")), "--url", service.url)
    assert result.exit_code == 0
    assert len(service.requests) == 3


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_a_service_that_stays_busy_fails_one_row(
    cli: Cli, rows: WriteRows, service: Service, code: int
) -> None:
    service.steps = [status(code, retry_after="3600")]
    path = rows(named("a", "b"))
    result = cli("score", path, "--url", service.url, "--concurrency", "1")
    assert result.exit_code == 1
    assert f"line 1 (a): the service answered {code}\n" in result.stderr
    assert ids_of(result.stdout) == ["b"]
    assert len(service.requests) == 2


def test_rows_in_flight_are_bounded(cli: Cli, rows: WriteRows, service: Service) -> None:
    service.delay_s = 0.05
    path = rows(named(*map(str, range(12))))
    assert cli("score", path, "--url", service.url, "--concurrency", "3").exit_code == 0
    assert service.busiest == 3


def test_the_callers_columns_do_not_travel(cli: Cli, rows: WriteRows, service: Service) -> None:
    path = rows([{**ROW, "split": "train", "citation_weight": 0.1}])
    assert cli("score", path, "--url", service.url).exit_code == 0
    ((item,),) = [request["items"] for request in service.requests]
    assert not item.get("metadata")
    assert item["citation_weight"] == 0.1
    assert "verification_reward" not in item


@pytest.mark.parametrize("body", ["", "{}", '{"items": []}'])
def test_an_unreadable_answer_is_a_failed_row(
    cli: Cli, rows: WriteRows, service: Service, body: str
) -> None:
    service.steps = [status(200, body)]
    result = cli("score", rows(named("a")), "--url", service.url)
    assert result.exit_code == 1
    assert result.stdout == ""


def test_a_judge_that_cannot_be_reached_is_a_failure_and_never_a_number(
    cli: Cli, rows: WriteRows, closed_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITEMARK_JUDGE_ATTEMPTS", "1")
    output = tmp_path / "results.jsonl"
    run = ["score", rows(named("a")), "-o", output]
    result = cli(*run, "--judge", "vllm", "--judge-url", f"{closed_url}/v1")
    assert result.exit_code == 1
    assert "judge_unreachable" in result.stderr
    (failed,) = results_of(output.read_text())
    assert failed.reward is None
    assert cli(*run).exit_code == 0
    (scored,) = results_of(output.read_text())
    assert scored.reward is not None


@pytest.fixture
def kept(cli: Cli, rows: WriteRows, tmp_path: Path) -> Path:
    """The results of the rows a and b by the embedded judge."""
    output = tmp_path / "results.jsonl"
    assert cli("score", rows(named("a", "b")), "-o", output).exit_code == 0
    return output


def test_what_is_the_same_stands(cli: Cli, kept: Path, rows: WriteRows) -> None:
    before = kept.read_bytes()
    path = rows({**row, "split": "other columns are never judged"} for row in named("b", "a"))
    for more in ([], ["--rescore"]):
        result = cli("score", path, "-o", kept, "--knob", "citation_weight=0.2", *more)
        assert result.exit_code == 0
        assert "0 judged, 0 refused, 0 failed, 2 kept" in result.stderr
    assert sorted(kept.read_bytes().splitlines()) == sorted(before.splitlines())


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        ({}, ["--knob", "citation_weight=0.9"], UNDER),
        ({"citation_weight": 0.9}, [], UNDER),
        ({"response": "<answer>Since May.</answer>"}, [], "for another rollout (question, sources"),
        ({"tool_output": ""}, [], "for another rollout"),
        ({"positive_rubrics": ["Gives May"]}, [], "for another rollout"),
        (
            {},
            ["--judge", "vllm", "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m"],
            "under judge model embedded, prompts version embedded-1, this run has m, ",
        ),
    ],
)
def test_results_of_something_else_are_refused_before_anything_is_scored(
    cli: Cli, kept: Path, rows: WriteRows, *, change: Any, arguments: list[str], told: str
) -> None:
    before = kept.read_bytes()
    path = rows([*named("c", "a"), {**ROW, **change, "id": "b"}])
    first = "a" if arguments else "b"
    parts = (f"results.jsonl holds '{first}' {told}", "another -o or --rescore")
    assert_one_line_error(cli("score", path, "-o", kept, *arguments), *parts)
    assert kept.read_bytes() == before


def test_what_does_not_stand_is_scored_again_where_that_is_wanted(
    cli: Cli, kept: Path, rows: WriteRows
) -> None:
    path = rows([*named("a"), {**ROW, "id": "b", "citation_weight": 0.9}])
    result = cli("score", path, "-o", kept, "--rescore")
    assert result.exit_code == 0
    assert "1 judged, 0 refused, 0 failed, 1 kept" in result.stderr
    weights = [(each.id, each.knobs.citation_weight) for each in results_of(kept.read_text())]
    assert weights == [("a", 0.2), ("b", 0.9)]


def test_another_static_set_is_another_run(
    cli: Cli, kept: Path, rows: WriteRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = resources.files("citemark_rubrics") / "sets" / "v3.toml"
    mine, file = shipped.read_text().replace('name = "v3"', 'name = "mine"'), tmp_path / "mine.toml"
    file.write_text(mine)
    monkeypatch.setenv("CITEMARK_RUBRICS_DIR", str(tmp_path))
    run = ["score", rows(named("a", "b")), "-o", kept, "--knob", "static_rubrics=mine"]
    assert_one_line_error(cli(*run), "static_rubrics v3, ", "mine@")
    assert cli(*run, "--rescore").exit_code == 0
    file.write_text(mine + "# The criteria are what they were.")
    assert cli(*run).exit_code == 0
    file.write_text(mine.replace("zero = ", "weight = 2\nzero = ", 1))
    assert_one_line_error(cli(*run), "under static rubrics version mine@")


def test_a_service_is_compared_as_far_as_it_is_known(
    cli: Cli, rows: WriteRows, tmp_path: Path, service: Service, citemark_url: str
) -> None:
    run = ["score", rows(named("a")), "-o", tmp_path / "results.jsonl"]
    scripted, real = [*run, "--url", service.url], [*run, "--url", citemark_url]
    assert cli(*scripted).exit_code == 0
    assert_one_line_error(cli(*scripted, "--knob", "citation_weight=0.9"), UNDER)
    assert cli(*scripted).exit_code == 0
    assert len(service.requests) == 1
    assert_one_line_error(cli(*real), "under judge model scripted", "this run has embedded")
    assert cli(*real, "--rescore").exit_code == 0
    assert cli(*real).exit_code == 0
    assert cli(*run).exit_code == 0


def test_a_row_that_became_wrong_is_a_bad_line(cli: Cli, kept: Path, rows: WriteRows) -> None:
    path = rows([{**ROW, "id": "a", "static_rubrics": "v99"}, *named("b")])
    result = cli("score", path, "-o", kept)
    assert result.exit_code == 2
    assert "line 1: " in result.stderr
    assert "1 bad line, 1 kept" in result.stderr


def test_a_foreign_output_file_is_left_alone(cli: Cli, rows: WriteRows) -> None:
    path = rows(named("a"))
    before = path.read_bytes()
    assert_one_line_error(cli("score", path, "-o", path), "line 1: is no result")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--knob", "citation_wieght=1"], ["did you mean citation_weight?"]),
        (["--knob", "citation_weight"], ["is not NAME=VALUE"]),
        (["--knob", "citation_weight=lots"], ["citation_weight: "]),
        (["--url", "localhost:8000"], ["must start with http"]),
        (["--url", "http://h:1/?token=x"], ["takes no query", "CITEMARK_API_TOKEN"]),
        (["--url", "http://127.0.0.1:1", "--judge", "embedded"], ["drop --judge"]),
        (["--judge-url", "http://127.0.0.1:1/v1"], ["judge embedded has none", "--judge vllm"]),
        (["--judge-model", "m", "--judge", "smollm2"], ["judge smollm2 has none"]),
        (["--criteria-per-call", "0"], ["criteria_per_call"]),
        (["--rescore"], ["name them with -o"]),
        (["--url", "http://"], ["names no host"]),
        (["--url", "http://host:port"], ["port"]),
        (["-o", "no/such/folder/results.jsonl"], ["cannot write"]),
        (["--api-token", "s3same"], ["--url"]),
        (["--url", "http://127.0.0.1:1/t/s3same"], ["cannot reach http://127.0.0.1:1"]),
    ],
)
def test_a_mistaken_flag_is_one_line(
    cli: Cli, rows: WriteRows, arguments: list[str], parts: list[str]
) -> None:
    result = cli("score", rows(named("a")), *arguments)
    assert_one_line_error(result, *parts)
    assert "s3same" not in result.stderr


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("CITEMARK_JUGDE", "; did you mean CITEMARK_JUDGE?"),
        ("citemark_prot", "; did you mean CITEMARK_PORT?"),
        ("CITEMARK_JUDGE_KEY", "; did you mean CITEMARK_JUDGE_API_KEY?"),
        ("CITEMARK_FOO", ""),
        ("CITEMARK_", ""),
    ],
)
def test_a_mistaken_variable_is_one_line(
    cli: Cli, rows: WriteRows, monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "embedded")
    result = cli("score", rows(named("a")))
    assert_one_line_error(result, f"Error: {variable} is not a setting{hint}\n")


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a service whose token is `s3same`."""
    service = begin(api_token=SecretStr("s3same"))
    yield service.server.url
    service.stop()


@pytest.mark.parametrize(
    ("environment", "options"),
    [("s3same", ["{}"]), ("another", ["{}", "--api-token", "s3same"]), (None, ["{}/t/s3same"])],
    ids=["environment", "flag", "path"],
)
def test_a_service_gets_its_token(
    cli: Cli, rows: WriteRows, guarded: str, environment: str | None, options: list[str]
) -> None:
    given = [option.format(guarded) for option in options]
    result = cli("score", rows([ROW]), "--url", *given, env={"CITEMARK_API_TOKEN": environment})
    assert result.exit_code == 0, result.stderr
    assert "1 judged, 0 refused, 0 failed" in result.stderr


@pytest.mark.parametrize("options", [[], ["--api-token", "wr0ng"]])
def test_a_missing_or_wrong_token_is_told_once(
    cli: Cli, rows: WriteRows, tmp_path: Path, guarded: str, options: list[str]
) -> None:
    output = tmp_path / "results.jsonl"
    result = cli("score", rows(FORTY), "--url", guarded, "-o", output, *options)
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert told.count("answered 401: no token, or a wrong one; set CITEMARK_API_TOKEN") == 1
    assert "line " not in told
    assert output.read_text() == ""


def test_a_url_that_leads_elsewhere_is_told_once(
    cli: Cli, rows: WriteRows, service: Service
) -> None:
    service.steps = [status(404)] * 40
    result = cli("score", rows(FORTY), "--url", service.url, "--concurrency", "1")
    assert result.exit_code == 1
    assert result.stderr.count("answered 404: is --url the root of a Citemark?") == 1
    assert len(service.requests) == 1
