"""`citemark doctor --trainer`: what is wrong with a data set, and a round trip with a service."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import TRAINERS, task_of
from support.command_line import Cli
from support.made_tasks import ROW

Rows = list[dict[str, Any]]


def laid(name: str, row: dict[str, Any] = ROW, index: int = 0) -> dict[str, Any]:
    """A row in a trainer's layout."""
    return TRAINERS[name].lay(task_of(row, None, PromptTemplate()), index)


@pytest.fixture
def examined(cli: Cli, data) -> Callable[..., dict[str, Any]]:
    """`examined("verl", rows)` gives the report and its exit status."""

    def run(name: str, rows: Rows, *options: str, status: int | None = None) -> dict[str, Any]:
        result = cli("doctor", "--trainer", name, "--dataset", data(rows), "--json", *options)
        assert result.exit_code in (0, 1), result.output
        report: dict[str, Any] = json.loads(result.stdout)
        failed = any(each["severity"] == "error" for each in report["findings"])
        assert result.exit_code == int(failed)
        assert status is None or result.exit_code == status
        return report

    return run


def found(report: dict[str, Any], field: str) -> list[str]:
    """What is said of a field."""
    return [each["problem"] for each in report["findings"] if each["field"] == field]


@pytest.mark.parametrize("name", TRAINERS)
def test_a_converted_row_has_nothing_wrong(examined, name: str) -> None:
    report = examined(name, [laid(name)], status=0)
    assert report["findings"] == []
    assert report["rows"] == 1


@pytest.mark.parametrize(
    "name", ["openrlhf", "slime", "verl", "open-instruct", "carr", "eval-protocol"]
)
def test_rows_of_another_trainer_are_told_how_to_become_its_own(examined, name: str) -> None:
    source = "verl" if name != "verl" else "slime"
    report = examined(name, [laid(source)] * 3, status=1)
    fixes = [each["fix"] for each in report["findings"] if each["field"] == "rubrics"]
    assert any(f"citemark convert --to {name}" in fix for fix in fixes)


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


BREAKING = [
    ("openrlhf", lambda row: {**row, "label": None}, "label", "empty"),
    ("openrlhf", lambda row: without(row, "prompt"), "prompt", "no prompt"),
    (
        "openrlhf",
        lambda row: {"prompt": "q", "label": '{"id": "q"}'},
        "label.tool_output",
        "neither",
    ),
    ("verl", lambda row: {**row, "prompt": "text"}, "prompt", "is text"),
    ("verl", lambda row: without(row, "data_source"), "data_source", "absent"),
    ("verl", lambda row: {**row, "reward_model": "x", "extra_info": ROW}, "reward_model", "object"),
    ("verl", lambda row: {**row, "extra_info": "x"}, "extra_info", "object"),
    ("trl", lambda row: {**row, "completions": "x"}, "completions", "TRL passes"),
    ("skyrl", lambda row: {**row, "prompt": [{"content": "x"}]}, "prompt[…]", "role"),
    ("nemo-gym", lambda row: {**row, "response": "x"}, "response", "Gym adds"),
    (
        "axolotl",
        lambda row: {**row, "responses_create_params": {"input": "x"}},
        "responses_create_params.input",
        "no prompt",
    ),
    ("verifiers", lambda row: {**row, "info": "plain", "answer": ROW}, "info", "neither an object"),
    ("open-instruct", lambda row: {**row, "dataset": "gsm8k"}, "dataset", "no verifier"),
    ("carr", lambda row: without(row, "metadata"), "metadata.remote_env_info", "no object"),
    ("eval-protocol", lambda row: {**row, "messages": []}, "messages", "not a list"),
]


@pytest.mark.parametrize(("name", "broken", "field", "problem"), BREAKING)
def test_what_a_trainer_breaks_on_is_an_error(examined, name, broken, field, problem) -> None:
    report = examined(name, [broken(laid(name))], status=1)
    assert any(problem in each for each in found(report, field)), report


LONG = {
    "question": {"question": "why " * 3000},
    "tool_output": {"tool_output": f"<snippet id=A>{'word ' * 10_000}</snippet>"},
    "rubrics": {"positive_rubrics": ["long " * 4000]},
}
DOUBTFUL = [
    ("openrlhf", lambda row: {**row, "label": json.loads(row["label"])}, "label", "not its JSON"),
    ("slime", lambda row: {**row, "label": json.loads(row["label"])}, "label", "not its JSON"),
    ("skyrl", lambda row: {**row, "env_class": "gsm8k"}, "env_class", "another environment"),
    (
        "slime",
        lambda row: {"prompt": row["prompt"], "metadata": ROW},
        "metadata",
        "--rm-url sends the label alone",
    ),
    (
        "verifiers",
        lambda row: {**ROW, "positive_rubrics": ["x"], "prompt": "q"},
        "rubrics",
        "vf.Rubric passes none",
    ),
    ("trl", lambda row: {**row, "prompt": "<|im_start|>user\nq"}, "prompt", "chat template"),
]
POOR = [
    ({"positive_rubrics": []}, "positive_rubrics", "no positive criterion"),
    (
        {"positive_rubrics": [], "negative_rubrics": []},
        "positive_rubrics",
        "no rubric of its own",
    ),
    ({"tool_output": "nothing found"}, "tool_output", "no source id"),
    *((given, field, "longer than the judge") for field, given in LONG.items()),
]


@pytest.mark.parametrize(("name", "changed", "field", "problem"), DOUBTFUL)
def test_what_a_trainer_survives_is_a_warning(examined, name, changed, field, problem) -> None:
    report = examined(name, [changed(laid(name))], status=0)
    assert any(problem in each for each in found(report, field)), report


@pytest.mark.parametrize(("given", "field", "problem"), POOR)
def test_a_row_that_teaches_little_is_a_warning(examined, given, field, problem) -> None:
    report = examined("verl", [laid("verl", {**ROW, **given})], status=0)
    assert any(problem in each for each in found(report, field)), report


def test_a_row_larger_than_the_service_takes_is_an_error(examined, monkeypatch) -> None:
    monkeypatch.setenv("CITEMARK_MAX_ROLLOUT_BYTES", "1024")
    report = examined("slime", [laid("slime")], status=1)
    assert any("larger than the service" in each for each in found(report, "row"))


def test_what_the_service_would_refuse_is_an_error(examined) -> None:
    report = examined("trl", [laid("trl", {**ROW, "static_rubrics": "nonesuch"})], status=1)
    assert found(report, "static_rubrics")


def test_equal_findings_are_one_with_its_first_rows(examined) -> None:
    rows = [laid("trl", {**ROW, "id": str(n), "tool_output": ""}) for n in range(20)]
    (finding,) = examined("trl", rows, status=0)["findings"]
    assert finding["count"] == 20
    assert finding["examples"] == ["line 1", "line 2", "line 3"]


def test_a_repeated_id_names_its_first_row(examined) -> None:
    (finding,) = examined("trl", [laid("trl")] * 3, status=0)["findings"]
    assert finding["field"] == "id"
    assert finding["examples"] == [f"line {n} ('ferry', that of line 1)" for n in (2, 3)]


def test_columns_of_two_types_are_an_error_where_arrow_loads_them(examined) -> None:
    rows = [{**laid("trl"), "id": "a"}, {**laid("trl"), "id": "b", "negative_rubrics": ["x"]}]
    report = examined("trl", rows, status=1)
    assert "an object in one row and text in another" in found(report, "negative_rubrics[…]")[0]
    rows = [{**laid("nemo-gym"), "id": "a"}, {**laid("nemo-gym"), "id": "b", "extra": 1}]
    assert examined("nemo-gym", rows, status=0)["findings"] == []


def test_limit_looks_at_the_first_rows_alone(examined) -> None:
    report = examined("trl", [laid("trl"), {"broken": True}], "--limit", "1", status=0)
    assert report["rows"] == 1


def test_no_rows_are_an_error(examined) -> None:
    assert found(examined("trl", [], status=1), "file")


def test_a_row_that_is_no_json_is_an_error_by_its_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(laid("trl")) + "\n{nothing\n")
    result = cli("doctor", "--trainer", "trl", "--dataset", path)
    assert result.exit_code == 1
    assert "line 2" in result.stdout
    assert "is not JSON" in result.stdout


@pytest.mark.parametrize("name", TRAINERS)
def test_a_table_is_examined_as_well(cli: Cli, data, tmp_path: Path, name: str) -> None:
    table = tmp_path / "rows.parquet"
    target = name if ".parquet" in TRAINERS[name].suffixes else "citemark"
    assert cli("convert", data([ROW, {**ROW, "id": "b"}]), table, "--to", target).exit_code == 0
    result = cli("doctor", "--trainer", name, "--dataset", table, "--json")
    assert result.exit_code == int(target != name), result.output


@pytest.mark.parametrize("name", TRAINERS)
def test_a_round_trip_gives_the_reward_of_v1_score(examined, citemark_url: str, name: str) -> None:
    report = examined(name, [laid(name)], "--url", citemark_url, status=0)
    honest, empty = report["round_trip"]["legs"]
    assert honest["reward"] == pytest.approx(honest["scored"], abs=1e-9)
    assert honest["reward"] > 0.5
    assert (empty["reward"], empty["scored"]) == (0.0, 0.0)


def test_a_service_that_is_away_is_an_error(examined, closed_url: str) -> None:
    report = examined("slime", [laid("slime")], "--url", closed_url, status=1)
    assert any(closed_url in each for each in found(report, "reward"))


def test_a_route_that_is_not_there_is_an_error(examined, service) -> None:
    report = examined("slime", [laid("slime")], "--url", service.url, status=1)
    assert any("/rm answered 404" in each for each in found(report, "reward"))


def test_an_honest_answer_worth_nothing_more_is_pointed_out(examined, citemark_url: str) -> None:
    knobs = {"instance_rubrics_only": True, "apply_citation_reward": False}
    row = {**ROW, **knobs, "tool_output": "", "positive_rubrics": ["Zanzibar, treaty of 1904"]}
    row["negative_rubrics"] = []
    report = examined("trl", [laid("trl", row)], "--url", citemark_url, status=0)
    assert any("an empty one 0.000" in each for each in found(report, "reward")), report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trainer", "trl"], "--dataset"),
        (["--url", "http://127.0.0.1:1"], "--trainer"),
        (["--json"], "--trainer"),
        (["--trainer", "trl", "--dataset", "FILE", "--judge", "vllm"], "--judge"),
        (["--trainer", "nonesuch", "--dataset", "FILE"], "nonesuch"),
    ],
)
def test_wrong_usage_is_said(cli: Cli, data, arguments: list[str], said: str) -> None:
    path = str(data([laid("trl")]))
    result = cli("doctor", *(path if each == "FILE" else each for each in arguments))
    assert result.exit_code == 2
    assert said in result.stderr
