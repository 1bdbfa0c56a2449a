"""The other commands, and what all of them share."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from citemark_service.settings import Settings
from command_line import EXAMPLES, Cli, Start, WriteRows

SNIPPET = {"id": "S1", "text": "The ferry has run since 1963 and carries forty cars."}


def labelled(claim: str, label: str) -> dict[str, Any]:
    return {"question": "q", "claim": claim, "snippets": [SNIPPET], "human_label": label}


LABELLED = [
    labelled("The ferry has run since 1963.", "supported"),
    labelled("The ferry carries forty cars.", "supported"),
    labelled("The bridge was painted red in spring.", "not_supported"),
    labelled("A tunnel opened beneath the strait.", "not_supported"),
]


@pytest.mark.parametrize("command", ["serve", "score", "explain", "rubrics", "agree"])
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert command in cli("--help").stdout


def test_the_help_of_serve_fits_a_screen(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("serve", "--help").stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "CITEMARK_" in "".join(lines)


def test_the_help_tells_the_real_defaults(cli: Cli) -> None:
    shown = " ".join(cli("serve", "--help").stdout.split())
    for name in ("host", "port", "judge", "judge_url", "judge_model", "judge_concurrency"):
        assert f"[{Settings.model_fields[name].default}]" in shown


def test_serve_answers_and_stops_when_told(start: Start) -> None:
    process = start("serve", "--port", "0", "--judge", "embedded")
    assert process.stderr is not None
    url = next(found[0] for line in process.stderr if (found := re.findall(r"http://\S+", line)))
    assert httpx.get(f"{url}/readyz").status_code == 200
    rollout = json.loads((EXAMPLES / "rollout.json").read_text())
    answer = httpx.post(f"{url}/v1/score", json=rollout).json()
    assert answer["reward"] > 0
    assert answer["citation"]["fabricated"] == 1
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_serve_refuses_a_bad_setting_in_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITEMARK_MAX_ITEMS", "many")
    result = cli("serve")
    assert result.exit_code == 2
    assert "max_items" in result.stderr
    assert "Traceback" not in result.output


def test_rubrics_show_prints_the_default_set(cli: Cli) -> None:
    shown = cli("rubrics", "show").stdout
    assert "v3 (" in shown
    assert "+ Citation Discipline (weight 1)" in shown
    assert "− Off-Query Padding (weight 1)" in shown


def test_rubrics_show_knows_its_sets(cli: Cli) -> None:
    result = cli("rubrics", "show", "v99")
    assert result.exit_code == 2
    assert "v99" in result.stderr
    assert "v3" in result.stderr


def test_rubrics_check_names_file_and_line(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "mine.toml"
    bad.write_text(
        'name = "mine"\ndescription = "d"\n\n[[criteria]]\ntitle = "T"\npolarity = "up"\n'
    )
    result = cli("rubrics", "check", bad)
    assert result.exit_code == 2
    assert f"{bad}, line 6: " in result.stderr


def test_rubrics_check_checks_every_file(cli: Cli, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    verdicts = "".join(
        f'{digit} = "m"\n{digit}_example = "e"\n' for digit in ("zero", "one", "two")
    )
    entry = f'[[criteria]]\ntitle = "T"\npolarity = "positive"\nlooks_at = "l"\n{verdicts}'
    good.write_text(f'name = "good"\ndescription = "d"\n{entry}')
    bad.write_text("= ")
    result = cli("rubrics", "check", bad, good)
    assert result.exit_code == 2
    assert f"{good}: ok: good, 1 criteria" in result.stdout
    assert str(bad) in result.stderr
    assert cli("rubrics", "check", good).exit_code == 0


def test_agree_measures_a_judge(cli: Cli, rows: WriteRows) -> None:
    result = cli("agree", "--judge", "embedded", rows(LABELLED))
    assert result.exit_code == 0
    (cells,) = (line.split() for line in result.stdout.splitlines() if "rows.jsonl" in line)
    assert cells[:4] == ["rows.jsonl", "4", "0", "1.000"]
    assert cells[-1] == "1.000"


def test_agree_skips_whole_rollouts(cli: Cli) -> None:
    result = cli("agree", EXAMPLES / "rollouts.jsonl")
    assert result.exit_code == 0
    assert "rollouts.jsonl: skipped: " in result.stderr


def test_agree_fails_where_judgements_failed(
    cli: Cli, rows: WriteRows, closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITEMARK_JUDGE_ATTEMPTS", "1")
    judge = ["--judge", "vllm", "--judge-url", f"{closed_url}/v1"]
    result = cli("agree", *judge, rows(LABELLED))
    assert result.exit_code == 1
    (cells,) = (line.split() for line in result.stdout.splitlines() if "rows.jsonl" in line)
    assert cells == ["rows.jsonl", "0", "4", "–", "–", "–", "–"]


def test_agree_names_a_bad_row(cli: Cli, rows: WriteRows) -> None:
    result = cli("agree", rows([*LABELLED, {"claim": "c", "human_label": "maybe"}]))
    assert result.exit_code == 2
    assert "rows.jsonl:5" in result.stderr
