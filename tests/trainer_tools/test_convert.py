"""`citemark convert` on real files: every trainer, both formats, bad rows, an interruption."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from citemark_service.trainers.files import read_rows
from citemark_service.trainers.table import LAYOUTS
from support.command_line import EXAMPLES, Cli
from support.made_tasks import ROW, json_lines

ROLLOUTS = EXAMPLES / "rollouts.jsonl"
PAIRS = [(name, ending) for name, each in LAYOUTS.items() for ending in each.suffixes]


def read(path: Path) -> list[dict[str, Any]]:
    return [dict(each.row) for each in read_rows(path) if each.row is not None]


@pytest.mark.parametrize(("name", "ending"), PAIRS)
def test_there_and_back_again_is_the_same_file(
    cli: Cli, tmp_path: Path, name: str, ending: str
) -> None:
    straight, there, back = (tmp_path / each for each in ("a.jsonl", f"b{ending}", "c.jsonl"))
    assert cli("convert", ROLLOUTS, straight, "--to", "citemark").exit_code == 0
    result = cli("convert", ROLLOUTS, there, "--to", name)
    assert result.exit_code == 0, result.output
    assert "16 rows converted" in result.stderr
    assert cli("convert", there, back, "--from", name, "--to", "citemark").exit_code == 0
    assert back.read_bytes() == straight.read_bytes()
    ids = [json.loads(line)["id"] for line in ROLLOUTS.read_text().splitlines()]
    assert [row["id"] for row in read(back)] == ids


def test_what_stays_behind_is_said(cli: Cli, tmp_path: Path) -> None:
    result = cli("convert", ROLLOUTS, tmp_path / "a.jsonl", "--to", "verl")
    assert "left behind: response, finish_reason, metadata" in result.stderr
    (first, *_) = read(tmp_path / "a.jsonl")
    assert "response" not in json.loads(first["reward_model"]["ground_truth"])


def test_a_bad_row_is_named_and_nothing_is_written(cli: Cli, data, tmp_path: Path) -> None:
    bad = {**ROW, "positive_rubrics": [{"description": "x", "weight": "heavy"}]}
    output = tmp_path / "out.jsonl"
    output.write_text("kept")
    result = cli("convert", data([ROW, bad]), output, "--to", "trl")
    assert result.exit_code == 2
    assert "line 2: row.positive_rubrics[0]: weight must be a number" in result.stderr
    assert output.read_text() == "kept"


def test_bad_rows_are_skipped_and_counted_where_that_is_asked_for(
    cli: Cli, data, tmp_path: Path
) -> None:
    rows = data([ROW, {"id": "no question"}, {**ROW, "id": "last"}])
    rows.write_text(rows.read_text() + "{broken\n")
    output = tmp_path / "out.jsonl"
    result = cli("convert", rows, output, "--to", "openrlhf", "--skip-bad")
    assert result.exit_code == 0, result.output
    assert "2 rows converted, 2 bad rows skipped" in result.stderr
    assert "line 2: row.question: " in result.stderr
    assert "line 4: is not JSON" in result.stderr
    assert [json.loads(row["label"])["id"] for row in read(output)] == ["ferry", "last"]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("text", "told"),
    [("", "has no rows"), ("\n \n", "has no rows"), ("{broken\n", "none of its rows can be used")],
)
def test_no_rows_are_said_and_nothing_is_written(
    cli: Cli, tmp_path: Path, *, ending: str, text: str, told: str
) -> None:
    source, output = tmp_path / "empty.jsonl", tmp_path / f"out{ending}"
    source.write_text(text)
    output.write_text("kept")
    result = cli("convert", source, output, "--to", "trl", "--skip-bad")
    assert result.exit_code == 2
    assert f"empty.jsonl: {told}; nothing was written" in result.stderr
    assert output.read_text() == "kept"


def test_one_row_is_one_row(cli: Cli, data, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    result = cli("convert", data([ROW, {"id": "x"}]), output, "--to", "trl", "--skip-bad")
    assert "1 row converted, 1 bad row skipped for TRL" in result.stderr
    examined = cli("doctor", "--trainer", "trl", "--dataset", output)
    assert "1 row for TRL, 0 errors, 0 warnings" in examined.stdout


def test_from_looks_only_where_that_trainer_carries(cli: Cli, data, tmp_path: Path) -> None:
    rows = data([{"prompt": "q", "extra_info": ROW}])
    output = tmp_path / "out.jsonl"
    assert cli("convert", rows, output, "--to", "trl", "--from", "verl").exit_code == 0
    result = cli("convert", rows, output, "--to", "trl", "--from", "slime")
    assert result.exit_code == 2
    assert "tool_output" in result.stderr


def test_a_template_makes_every_prompt(cli: Cli, data, tmp_path: Path) -> None:
    template = tmp_path / "prompt.j2"
    template.write_text("{{ question }} | {{ reasoning }} | {{ tool_output | length }}")
    rows = data([{**ROW, "prompt": "other", "reasoning": "{{ question }}"}])
    output = tmp_path / "out.jsonl"
    result = cli("convert", rows, output, "--to", "slime", "--prompt-template", template)
    assert result.exit_code == 0, result.output
    (row,) = read(output)
    told = f"{ROW['question']} | {{{{ question }}}} | {len(ROW['tool_output'])}"
    assert row["prompt"] == [{"role": "user", "content": told}]


@pytest.mark.parametrize("text", ["{{ question", "{{ unknown }}"])
def test_a_broken_template_is_a_line_and_no_traceback(
    cli: Cli, data, tmp_path: Path, text: str
) -> None:
    template = tmp_path / "prompt.j2"
    template.write_text(text)
    output = tmp_path / "out.jsonl"
    options = ["--to", "trl", "--prompt-template", template]
    result = cli("convert", data([ROW]), output, *options)
    assert result.exit_code == 2
    assert "prompt template prompt.j2" in result.stderr
    assert not output.exists()


def test_a_file_that_the_trainer_does_not_read_is_refused(cli: Cli, tmp_path: Path) -> None:
    result = cli("convert", ROLLOUTS, tmp_path / "a.parquet", "--to", "nemo-gym")
    assert result.exit_code == 2
    assert "NeMo Gym reads .jsonl alone" in result.stderr


def test_a_file_can_be_converted_in_place(cli: Cli, data) -> None:
    rows = data([ROW])
    assert cli("convert", rows, rows, "--to", "skyrl").exit_code == 0
    assert read(rows)[0]["env_class"] == "citemark"


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    with rows.open("w") as file:
        for _ in range(200):
            file.write(json_lines([ROW]) * 500)
    output.write_text("kept")
    command = [sys.executable, "-m", "citemark_service", "convert", str(rows), str(output)]
    process = subprocess.Popen([*command, "--to", "trl"], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.glob(".out.parquet.*.part")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert output.read_text() == "kept"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.parquet", "rows.jsonl"]
