"""`citemark doctor --trainer`: what is wrong with a data set, and a round trip with a service."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import TRAINERS, task_of
from support.command_line import cli
from support.made_tasks import ROW


def laid(name: str, **changed: Any) -> dict[str, Any]:
    """A row in a trainer's layout; `changed` are fields of the rollout in it."""
    return TRAINERS[name].lay(task_of({**ROW, **changed}, None, PromptTemplate()), 0)


@pytest.fixture
def examined(rows) -> Callable[..., dict[str, Any]]:
    """`examined("verl", [row], status=0)`: the report of a command that exits so."""

    def run(name: str, data: list[Any], *options: str, status: int) -> dict[str, Any]:
        command = ["doctor", "--trainer", name, "--dataset", rows(data), "--json"]
        report: dict[str, Any] = json.loads(cli(*command, *options, status=status).stdout)
        assert status == any(each["severity"] == "error" for each in report["findings"])
        return report

    return run


def found(report: dict[str, Any], field: str) -> list[str]:
    """What is said of a field."""
    return [each["problem"] for each in report["findings"] if each["field"] == field]


@pytest.mark.parametrize("name", TRAINERS)
def test_a_converted_row_has_nothing_wrong(examined, name):
    report = examined(name, [laid(name)], status=0)
    assert report["findings"] == []
    assert report["rows"] == 1


@pytest.mark.parametrize(
    "name", ["openrlhf", "slime", "verl", "open-instruct", "carr", "eval-protocol"]
)
def test_rows_of_another_trainer_are_told_how_to_become_its_own(examined, name):
    source = "verl" if name != "verl" else "slime"
    report = examined(name, [laid(source)] * 3, status=1)
    fixes = [each["fix"] for each in report["findings"] if each["field"] == "rubrics"]
    assert any(f"citemark convert --to {name}" in fix for fix in fixes)


Change = Callable[[dict[str, Any]], dict[str, Any]]


def put(**values: Any) -> Change:
    return lambda row: {**row, **values}


def drop(gone: str) -> Change:
    return lambda row: {name: value for name, value in row.items() if name != gone}


def carry(**values: Any) -> Change:
    """Other fields of the rollout, in verl's layout."""
    return lambda _: laid("verl", **values)


def parse_label(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "label": json.loads(row["label"])}


BREAKING = [
    ("openrlhf", put(label=None), "label", "empty"),
    ("openrlhf", drop("prompt"), "prompt", "no prompt"),
    ("openrlhf", put(prompt="q", label='{"id": "q"}'), "label.tool_output", "neither"),
    ("verl", put(prompt="text"), "prompt", "is text"),
    ("verl", drop("data_source"), "data_source", "absent"),
    ("verl", put(reward_model="x", extra_info=ROW), "reward_model", "object"),
    ("verl", put(extra_info="x"), "extra_info", "object"),
    ("trl", put(completions="x"), "completions", "TRL passes"),
    ("skyrl", put(prompt=[{"content": "x"}]), "prompt[…]", "role"),
    ("nemo-gym", put(response="x"), "response", "Gym adds"),
    ("axolotl", put(responses_create_params={"input": "x"}), "responses_create_params.input",
     "no prompt"),
    ("verifiers", put(info="plain", answer=ROW), "info", "neither an object"),
    ("open-instruct", put(dataset="gsm8k"), "dataset", "no verifier"),
    ("carr", drop("metadata"), "metadata.remote_env_info", "no object"),
    ("eval-protocol", put(messages=[]), "messages", "not a list"),
    ("trl", put(static_rubrics="nonesuch"), "static_rubrics", "nonesuch"),
    ("slime", put(metadata={"question": "Another?"}), "label.question",
     "and metadata.question say different things"),
]  # fmt: skip
DOUBTFUL = [
    ("openrlhf", parse_label, "label", "not its JSON"),
    ("slime", parse_label, "label", "not its JSON"),
    ("skyrl", put(env_class="gsm8k"), "env_class", "another environment"),
    ("slime", lambda row: {"prompt": row["prompt"], "metadata": ROW}, "metadata",
     "--rm-url sends the label alone"),
    ("verifiers", lambda _: {**ROW, "positive_rubrics": ["x"], "prompt": "q"}, "rubrics",
     "vf.Rubric passes none"),
    ("trl", put(prompt="<|im_start|>user\nq"), "prompt", "chat template"),
    ("verl", carry(positive_rubrics=[]), "positive_rubrics", "no positive criterion"),
    ("verl", carry(positive_rubrics=[], negative_rubrics=[]), "positive_rubrics",
     "no rubric of its own"),
    ("verl", carry(tool_output="nothing found"), "tool_output", "no source id"),
    ("verl", carry(tool_output='[{"url": "u", "text": "x"}]', citation_style="snippet"),
     "tool_output", "no source id"),
    ("verl", carry(question="why " * 3000), "question", "longer than the judge"),
    ("verl", carry(tool_output=f"<snippet id=A>{'word ' * 10_000}</snippet>"), "tool_output",
     "longer than the judge"),
    ("verl", carry(positive_rubrics=["long " * 4000]), "rubrics", "longer than the judge"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "name", "change", "field", "problem"),
    [*((1, *each) for each in BREAKING), *((0, *each) for each in DOUBTFUL)],
)
def test_what_a_trainer_breaks_on_is_an_error_and_what_it_survives_a_warning(
    examined, *, status, name, change, field, problem
):
    report = examined(name, [change(laid(name))], status=status)
    assert any(problem in each for each in found(report, field)), report


def test_a_row_larger_than_the_service_takes_is_an_error(examined, monkeypatch):
    monkeypatch.setenv("CITEMARK_MAX_ROLLOUT_BYTES", "1024")
    report = examined("slime", [laid("slime")], status=1)
    assert any("larger than the service" in each for each in found(report, "row"))


def test_equal_findings_are_one_with_its_first_rows(examined):
    data = [laid("trl", id=str(n), tool_output="") for n in range(20)]
    (finding,) = examined("trl", data, status=0)["findings"]
    assert finding["count"] == 20
    assert finding["examples"] == ["line 1", "line 2", "line 3"]


def test_a_repeated_id_names_its_first_row(examined):
    (finding,) = examined("trl", [laid("trl")] * 3, status=0)["findings"]
    assert finding["field"] == "id"
    assert finding["examples"] == [f"line {n} ('ferry', that of line 1)" for n in (2, 3)]


def test_columns_of_two_types_are_an_error_where_arrow_loads_them(examined):
    data = [{**laid("trl"), "id": "a"}, {**laid("trl"), "id": "b", "negative_rubrics": ["x"]}]
    report = examined("trl", data, status=1)
    assert "an object in one row and text in another" in found(report, "negative_rubrics[…]")[0]
    data = [{**laid("nemo-gym"), "id": "a"}, {**laid("nemo-gym"), "id": "b", "extra": 1}]
    assert examined("nemo-gym", data, status=0)["findings"] == []


def test_limit_looks_at_the_first_rows_alone(examined):
    report = examined("trl", [laid("trl"), {"broken": True}], "--limit", "1", status=0)
    assert report["rows"] == 1


def test_no_rows_are_an_error(examined):
    assert found(examined("trl", [], status=1), "file")


def test_a_row_that_is_no_json_is_an_error_by_its_line(rows):
    path = rows([laid("trl")])
    path.write_text(path.read_text() + "{nothing\n")
    told = cli("doctor", "--trainer", "trl", "--dataset", path, status=1).stdout
    assert "line 2" in told
    assert "is not JSON" in told


@pytest.mark.parametrize("name", TRAINERS)
def test_a_table_is_examined_as_well(rows, tmp_path, name):
    table = tmp_path / "rows.parquet"
    target = name if ".parquet" in TRAINERS[name].suffixes else "citemark"
    cli("convert", rows([ROW, {**ROW, "id": "b"}]), table, "--to", target)
    cli("doctor", "--trainer", name, "--dataset", table, "--json", status=int(target != name))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_round_trip_gives_the_reward_of_v1_score(examined, citemark_url, name):
    report = examined(name, [laid(name)], "--url", citemark_url, status=0)
    honest, empty = report["round_trip"]["legs"]
    assert honest["reward"] == pytest.approx(honest["scored"], abs=1e-9)
    assert honest["reward"] > 0.5
    assert (empty["reward"], empty["scored"]) == (0.0, 0.0)


def test_a_service_that_is_away_is_an_error(examined, closed_url):
    report = examined("slime", [laid("slime")], "--url", closed_url, status=1)
    assert any(closed_url in each for each in found(report, "reward"))


def test_a_route_that_is_not_there_is_an_error(examined, service):
    report = examined("slime", [laid("slime")], "--url", service.url, status=1)
    assert any("/rm answered 404" in each for each in found(report, "reward"))


def test_an_honest_answer_worth_nothing_more_is_pointed_out(examined, citemark_url):
    knobs = {"instance_rubrics_only": True, "apply_citation_reward": False}
    rubrics = {"positive_rubrics": ["Zanzibar, treaty of 1904"], "negative_rubrics": []}
    row = laid("trl", **knobs, **rubrics, tool_output="")
    report = examined("trl", [row], "--url", citemark_url, status=0)
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
def test_wrong_usage_is_said(rows, arguments, said):
    path = rows([laid("trl")])
    given = [path if each == "FILE" else each for each in arguments]
    cli("doctor", *given, status=2, says=said)
