"""`citemark convert` on real files: every trainer, both formats, bad rows, an interruption."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from citemark_service.row_files import RowFile
from citemark_service.trainers.table import LAYOUTS
from support.command_line import EXAMPLES, cli
from support.made_tasks import ROW, json_lines

ROLLOUTS = EXAMPLES / "rollouts.jsonl"
PAIRS = [(name, ending) for name, each in LAYOUTS.items() for ending in each.suffixes]


def read(path: Path) -> list[dict[str, Any]]:
    return [dict(each.row) for each in RowFile(path) if each.row is not None]


@pytest.mark.parametrize(("name", "ending"), PAIRS)
def test_there_and_back_again_is_the_same_file(tmp_path, name, ending):
    straight, there, back = (tmp_path / each for each in ("a.jsonl", f"b{ending}", "c.jsonl"))
    cli("convert", ROLLOUTS, straight, "--to", "citemark")
    cli("convert", ROLLOUTS, there, "--to", name, says="16 rows converted")
    cli("convert", there, back, "--from", name, "--to", "citemark")
    assert back.read_bytes() == straight.read_bytes()
    ids = [json.loads(line)["id"] for line in ROLLOUTS.read_text().splitlines()]
    assert [row["id"] for row in read(back)] == ids


@pytest.fixture
def convert(rows, tmp_path):
    """`convert([{…}], "--to trl", says="1 row")` returns the rows that it wrote."""

    def run(data: Any, options: str, *, ending: str = ".jsonl", **ends: Any) -> Any:
        source = data if isinstance(data, Path) else rows(data)
        (output := tmp_path / f"out{ending}").write_text("kept")
        result = cli("convert", source, output, *options.split(), **ends)
        if result.exit_code == 0:
            return read(output)
        assert output.read_text() == "kept", "written whole or not at all"
        return []

    return run


def test_what_stays_behind_is_said(convert):
    says = "left behind: response, finish_reason, metadata"
    (first, *_) = convert(ROLLOUTS, "--to verl", says=says)
    assert "response" not in json.loads(first["reward_model"]["ground_truth"])


def test_bad_rows_are_skipped_and_counted_where_that_is_asked_for(convert, rows, tmp_path):
    data = rows([ROW, {"id": "no question"}, {**ROW, "id": "last"}])
    data.write_text(data.read_text() + "{broken\n")
    result = cli("convert", data, tmp_path / "out.jsonl", "--to", "openrlhf", "--skip-bad")
    assert "2 rows converted, 2 bad rows skipped" in result.stderr
    assert "line 2: row.question: " in result.stderr
    assert "line 4: is not JSON" in result.stderr
    labels = [json.loads(row["label"])["id"] for row in read(tmp_path / "out.jsonl")]
    assert labels == ["ferry", "last"]

    says = "1 row converted, 1 bad row skipped for TRL"
    converted = convert([ROW, {"id": "x"}], "--to trl --skip-bad", says=says)
    examined = cli("doctor", "--trainer", "trl", "--dataset", rows(converted))
    assert "1 row for TRL, 0 errors, 0 warnings" in examined.stdout


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("text", "told"),
    [("", "has no rows"), ("\n \n", "has no rows"), ("{broken\n", "none of its rows can be used")],
)
def test_no_rows_are_said(convert, rows, ending, text, told):
    (source := rows([])).write_text(text)
    says = f"rows.jsonl: {told}; nothing was written"
    convert(source, "--to trl --skip-bad", ending=ending, status=2, says=says)


HEAVY = {**ROW, "positive_rubrics": [{"description": "x", "weight": "heavy"}]}
IN_EXTRA_INFO = {"prompt": "q", "extra_info": ROW}


def test_what_cannot_be_converted_is_named(convert):
    says = "line 2: row.positive_rubrics[0]: weight must be a number"
    convert([ROW, HEAVY], "--to trl", status=2, says=says)
    says = "NeMo Gym reads .jsonl alone"
    convert([ROW], "--to nemo-gym", ending=".parquet", status=2, says=says)


def test_from_looks_only_where_that_trainer_carries(convert):
    convert([IN_EXTRA_INFO], "--to trl --from verl")
    convert([IN_EXTRA_INFO], "--to trl --from slime", status=2, says="tool_output")


def test_a_template_makes_every_prompt(convert, tmp_path):
    template = tmp_path / "prompt.j2"
    template.write_text("{{ question }} | {{ reasoning }} | {{ tool_output | length }}")
    row = {**ROW, "prompt": "other", "reasoning": "{{ question }}"}
    (row,) = convert([row], f"--to slime --prompt-template {template}")
    told = f"{ROW['question']} | {{{{ question }}}} | {len(ROW['tool_output'])}"
    assert row["prompt"] == [{"role": "user", "content": told}]


@pytest.mark.parametrize("text", ["{{ question", "{{ unknown }}"])
def test_a_broken_template_is_a_line_and_no_traceback(convert, tmp_path, text):
    (template := tmp_path / "prompt.j2").write_text(text)
    options = f"--to trl --prompt-template {template}"
    convert([ROW], options, status=2, says="prompt template prompt.j2")


@pytest.mark.parametrize("link", [None, Path.symlink_to, Path.hardlink_to])
def test_a_source_is_never_overwritten(rows, tmp_path, link):
    data = rows([ROW])
    before, output = data.read_bytes(), data if link is None else tmp_path / "link.jsonl"
    if link is not None:
        link(output, data)
    says = "is read too, and would be overwritten; choose another output"
    cli("convert", data, output, "--to", "skyrl", status=2, says=says)
    cli("score", data, "-o", output, status=2, says=says)
    assert data.read_bytes() == before


def test_an_interruption_leaves_what_was_there(start, tmp_path):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    rows.write_text(json_lines([ROW]) * 100_000)
    output.write_text("kept")
    process = start("convert", rows, output, "--to", "trl")
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".out.parquet.*.part")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert output.read_text() == "kept"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.parquet", "rows.jsonl"]
