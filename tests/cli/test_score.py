"""`citemark score`: files in, results out, by a judge here or by a service on a real socket."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from citemark_schemas import ScoreResult
from support.command_line import EXAMPLES, WriteRows, cli
from support.running_service import begin
from support.scripted_service import status

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


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_the_examples_rank_as_anyone_would_rank_them():
    rewards = {each.id: each.reward or 0.0 for each in results_of(cli("score", ROLLOUTS).stdout)}
    groups: dict[str, list[tuple[int, float]]] = {}
    for row in map(json.loads, ROLLOUTS.read_text().splitlines()):
        pair = (row["metadata"]["rank"], rewards[row["id"]])
        groups.setdefault(row["metadata"]["group"], []).append(pair)
    assert len(groups) == 4
    for pairs in groups.values():
        for rank, reward in pairs:
            assert all(reward > worse for other, worse in pairs if other > rank), pairs


def test_a_service_gives_what_this_process_gives(citemark_url):
    run = ["score", ROLLOUTS, "--knob", "citation_weight=0.5"]
    here, there = (results_of(cli(*run, *more).stdout) for more in ([], ["--url", citemark_url]))
    by_id = {result.id: result.reward for result in there}
    assert {result.id: result.reward for result in here} == by_id
    assert all(result.knobs.citation_weight == 0.5 for result in there)


def test_standard_input_is_read_and_no_rows_are_an_error(rows):
    cli("score", "-", input="", status=2, says="Error: standard input has no rows")
    cli("score", rows([]), status=2, says="rows.jsonl has no rows")
    says = "1 judged, 0 refused, 0 failed; mean reward 1."
    assert ids_of(cli("score", "-", says=says, input=json.dumps(ROW)).stdout) == ["0"]


def test_bad_lines_do_not_stop_the_others_and_are_not_all_told(rows):
    path = rows([*named("a"), {**ROW, "citation_wieght": 1}, *named("a", "b")])
    with path.open("a") as file:
        file.write("{\n" * 28)
    result = cli("score", path, status=2, says="line 3: id 'a' is that of line 1 already")
    assert sorted(ids_of(result.stdout)) == ["a", "b"]
    assert "30 bad lines" in result.stderr
    assert result.stderr.count(": is not JSON") == 18
    assert "and 10 more" in result.stderr


def test_what_only_the_service_knows_to_be_wrong_is_a_bad_line_too(rows, citemark_url):
    path = rows([*named("a"), {**ROW, "static_rubrics": "v99"}])
    for options in ([], ["--url", citemark_url]):
        result = cli("score", path, *options, status=2, says="line 2: ")
        assert ids_of(result.stdout) == ["a"]
        assert "v99" in result.stderr


def test_a_run_is_resumed(rows, output, service):
    service.steps = [status(500)]
    run = ("score", rows(named("a", "b", "c")), "-o", output, "--url", service.url)
    cli(*run, "--concurrency", "1", status=1, says="line 1 (a): the service answered 500")
    assert ids_of(output.read_text()) == ["b", "c"]
    cli(*run, says="1 judged, 0 refused, 0 failed, 2 kept from before")
    assert ids_of(output.read_text()) == ["a", "b", "c"]
    assert len(service.requests) == 4


def test_an_interrupted_run_leaves_a_file_that_can_be_resumed(start, rows, output, service):
    service.delay_s = 0.5
    run = ("score", rows(FORTY), "-o", output, "--url", service.url, "--concurrency", "2")
    process = start(*run)
    while not output.exists() or output.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert 3 <= len(ids_of(output.read_text())) < 40
    service.delay_s = 0.0
    cli(*run)
    assert ids_of(output.read_text()) == [str(number) for number in range(40)]
    assert 40 <= len(service.requests) <= 42


@pytest.mark.parametrize(
    ("steps", "says", "requests"),
    [
        ([status(429, retry_after="1"), status(503)], "2 judged, 0 refused, 0 failed", 4),
        *(
            ([status(code, retry_after="3600")], f"line 1 (a): the service answered {code} 1", 2)
            for code in (429, 502, 503, 504)
        ),
        *(([status(200, body)], "1 failed", 2) for body in ("", "{}", '{"items": []}')),
    ],
)
def test_a_busy_service_is_asked_again_and_no_answer_fails_one_row(
    rows, service, steps, says, requests
):
    service.steps = list(steps)
    fails = len(steps) == 1
    run = ("score", rows(named("a", "b")), "--url", service.url, "--concurrency", "1")
    result = cli(*run, status=int(fails), says=says)
    assert ids_of(result.stdout) == (["b"] if fails else ["a", "b"])
    assert len(service.requests) == requests


def test_rows_in_flight_are_bounded(rows, service):
    service.delay_s = 0.3
    cli("score", rows(FORTY[:12]), "--url", service.url, "--concurrency", "3")
    assert service.busiest == 3


def test_the_callers_columns_do_not_travel_and_are_told_once(rows, service):
    row = {**ROW, "split": "train", "hash": 2, "citation_weight": 0.1}
    told = cli("score", rows([row, row]), "--url", service.url).stderr
    assert told.count("never judged: split, hash") == 1
    for item in (request["items"][0] for request in service.requests):
        assert not item.get("metadata")
        assert item["citation_weight"] == 0.1
        assert "verification_reward" not in item


def test_a_judge_that_cannot_be_reached_is_a_failure_and_never_a_number(rows, closed_url, output):
    run = ["score", rows(named("a")), "-o", output]
    away = ["--judge", "vllm", "--judge-url", f"{closed_url}/v1"]
    env = {"CITEMARK_JUDGE_ATTEMPTS": "1"}
    cli(*run, *away, status=1, says="judge_unreachable", env=env)
    (failed,) = results_of(output.read_text())
    assert failed.reward is None
    cli(*run)
    (scored,) = results_of(output.read_text())
    assert scored.reward is not None


@pytest.fixture
def kept(rows: WriteRows, output: Path) -> Path:
    """The results of the rows a and b by the embedded judge."""
    cli("score", rows(named("a", "b")), "-o", output)
    return output


def test_what_is_the_same_stands(kept, rows):
    before = kept.read_bytes()
    path = rows({**row, "split": "other columns are never judged"} for row in named("b", "a"))
    for more in ([], ["--rescore"]):
        run = ("score", path, "-o", kept, "--knob", "citation_weight=0.2", *more)
        cli(*run, says="0 judged, 0 refused, 0 failed, 2 kept")
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
    kept, rows, change, arguments, told
):
    before = kept.read_bytes()
    path = rows([*named("c", "a"), {**ROW, **change, "id": "b"}])
    says = f"results.jsonl holds '{'a' if arguments else 'b'}' {told}"
    result = cli("score", path, "-o", kept, *arguments, status=2, says=says)
    assert "another -o or --rescore" in result.stderr
    assert kept.read_bytes() == before


@pytest.mark.parametrize("concurrency", ["1", "4"])
def test_in_a_pipe_the_first_result_of_something_else_ends_the_run(kept, concurrency):
    read, write = os.pipe()
    for name in "ab":
        os.write(write, json.dumps({**ROW, "id": name, "tool_output": ""}).encode() + b"\n")
    os.close(write)
    run = ("score", f"/dev/fd/{read}", "-o", kept, "--concurrency", concurrency)
    result = cli(*run, status=2, says="stopped: results.jsonl holds 'a' for another rollout")
    assert "0 judged, 0 refused, 0 failed, 1 bad line\n" in result.stderr
    os.close(read)


def test_a_full_disk_ends_the_run(rows, service):
    run = ["score", str(rows(FORTY)), "--url", service.url, "--concurrency", "1"]
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "citemark_service", *run]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "stopped: cannot write the results: [Errno 28] No space left" in done.stderr
    assert len(service.requests) == 1


def test_what_does_not_stand_is_scored_again_where_that_is_wanted(kept, rows):
    path = rows([*named("a"), {**ROW, "id": "b", "citation_weight": 0.9}])
    cli("score", path, "-o", kept, "--rescore", says="1 judged, 0 refused, 0 failed, 1 kept")
    weights = [(each.id, each.knobs.citation_weight) for each in results_of(kept.read_text())]
    assert weights == [("a", 0.2), ("b", 0.9)]


def test_another_static_set_is_another_run(kept, rows, tmp_path):
    shipped = resources.files("citemark_rubrics") / "sets" / "v3.toml"
    mine, file = shipped.read_text().replace('name = "v3"', 'name = "mine"'), tmp_path / "mine.toml"
    file.write_text(mine)
    env = {"CITEMARK_RUBRICS_DIR": str(tmp_path)}
    run = ["score", rows(named("a", "b")), "-o", kept, "--knob", "static_rubrics=mine"]
    refused = cli(*run, status=2, says="static_rubrics v3, ", env=env)
    assert "mine@" in refused.stderr
    cli(*run, "--rescore", env=env)
    file.write_text(mine + "# The criteria are what they were.")
    cli(*run, env=env)
    file.write_text(mine.replace("zero = ", "weight = 2\nzero = ", 1))
    cli(*run, status=2, says="under static rubrics version mine@", env=env)


def test_a_service_is_compared_as_far_as_it_is_known(rows, output, service, citemark_url):
    run = ["score", rows(named("a")), "-o", output]
    scripted, real = [*run, "--url", service.url], [*run, "--url", citemark_url]
    cli(*scripted)
    cli(*scripted, "--knob", "citation_weight=0.9", status=2, says=UNDER)
    cli(*scripted)
    assert len(service.requests) == 1
    refused = cli(*real, status=2, says="under judge model scripted")
    assert "this run has embedded" in refused.stderr
    cli(*real, "--rescore")
    cli(*real)
    cli(*run)


def test_a_row_that_became_wrong_is_a_bad_line(kept, rows):
    path = rows([{**ROW, "id": "a", "static_rubrics": "v99"}, *named("b")])
    result = cli("score", path, "-o", kept, status=2, says="line 1: ")
    assert "1 bad line, 1 kept" in result.stderr


@pytest.mark.parametrize("content", ["precious\n", "precious", '{"id": 1}\n', "{}\n\n"])
def test_a_foreign_output_file_is_left_alone(rows, output, content):
    path = rows(named("a"))
    output.write_text(content)
    cli("score", path, "-o", output, status=2, says="line 1: is no result")
    assert output.read_text() == content
    assert sorted(output.parent.iterdir()) == [output, path]


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
        (["--api-token", "open-s3same-to-me"], ["--url"]),
        (["--url", "http://127.0.0.1:1/t/open-s3same-to-me"], ["cannot reach http://127.0.0.1:1"]),
    ],
)
def test_a_mistaken_flag_is_one_line(rows, arguments, parts):
    result = cli("score", rows(named("a")), *arguments, status=2)
    assert all(part in result.stderr for part in parts), result.stderr
    assert "open-s3same-to-me" not in result.stderr


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
def test_a_mistaken_variable_is_one_line(rows, variable, hint):
    result = cli("score", rows(named("a")), status=2, env={variable: "embedded"})
    assert f"Error: {variable} is not a setting{hint}\n" in result.stderr


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a service whose token is `open-s3same-to-me`."""
    with begin(api_token=SecretStr("open-s3same-to-me")) as service:
        yield service.server.url


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("open-s3same-to-me", ["{}"]),
        ("another-services", ["{}", "--api-token", "open-s3same-to-me"]),
        (None, ["{}/t/open-s3same-to-me"]),
    ],
    ids=["environment", "flag", "path"],
)
def test_a_service_gets_its_token(rows, guarded, environment, options):
    given = [option.format(guarded) for option in options]
    says, env = "1 judged, 0 refused, 0 failed", {"CITEMARK_API_TOKEN": environment}
    cli("score", rows([ROW]), "--url", *given, says=says, env=env)


@pytest.mark.parametrize("options", [[], ["--api-token", "wr0ng-of-18-letters"]])
def test_a_missing_or_wrong_token_is_told_once(rows, output, guarded, options):
    result = cli("score", rows(FORTY), "--url", guarded, "-o", output, *options, status=1)
    told = " ".join(result.stderr.split())
    assert told.count("answered 401: no token, or a wrong one; set CITEMARK_API_TOKEN") == 1
    assert "line " not in told
    assert output.read_text() == ""


def test_a_url_that_leads_elsewhere_ends_the_run(rows, service):
    service.steps = [status(404)] * 40
    result = cli("score", rows(FORTY), "--url", service.url, "--concurrency", "1", status=1)
    assert result.stderr.count("answered 404: is --url the root of a Citemark?") == 1
    assert len(service.requests) == 1
