"""The other commands, and what all of them share."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.errors import SettingsError
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.settings import Settings
from support.command_line import EXAMPLES, Cli, Start, WriteRows

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
    assert cli(command, "--help").exit_code == 0
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


def test_serve_answers_keeps_and_stops_when_told(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CITEMARK_LEDGER", raising=False)
    process = start("serve", "--port", "0", "--judge", "embedded")
    assert process.stderr is not None
    said = ""
    while not ("are kept" in said and "serving on" in said):
        assert process.poll() is None, said
        said += process.stderr.readline()
    assert f" rollouts are kept in sqlite:///{tmp_path / 'citemark.db'}\n" in said
    (url,) = re.findall(r"serving on (http://\S+)", said)
    assert httpx.get(f"{url}/readyz").status_code == 200
    rollout = json.loads((EXAMPLES / "rollout.json").read_text())
    answer = httpx.post(f"{url}/v1/score", json=rollout).json()
    assert answer["reward"] > 0
    assert answer["citation"]["fabricated"] == 1
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("host", "max_items", "told"),
    [
        (None, "many", "max_items"),
        (None, "1", "Error: cannot listen on {host}:{port}: Address already in use"),
        ("192.0.2.1", "1", "Error: cannot listen on 192.0.2.1:"),
    ],
    ids=["a bad setting", "a taken port", "a host that is not ours"],
)
def test_serve_says_in_one_line_why_it_cannot(
    cli: Cli, citemark_url: str, host: str | None, max_items: str, told: str
) -> None:
    taken, _, port = citemark_url.removeprefix("http://").rpartition(":")
    flags = ("--host", host or taken, "--port", port)
    result = cli("serve", *flags, env={"CITEMARK_MAX_ITEMS": max_items})
    assert result.exit_code == 2
    assert told.format(host=taken, port=port) in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["serve"], ["score", EXAMPLES / "rollouts.jsonl"]])
def test_a_default_set_that_does_not_exist_is_refused_at_the_start(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: list[Any]
) -> None:
    monkeypatch.setenv("CITEMARK_STATIC_RUBRICS", "v9")
    result = cli(*command)
    assert result.exit_code == 2
    assert "Error: static_rubrics: unknown static rubric set 'v9'; known: v3" in result.stderr


def test_an_application_refuses_it_too_unless_it_is_not_used() -> None:
    unused = Settings(static_rubrics="v9", instance_rubrics_only=True)
    create_app(settings=unused, judge=EmbeddedJudge())
    used = Settings(static_rubrics="v9")
    with pytest.raises(SettingsError, match=r"static_rubrics: .*'v9'; known: v3"):
        create_app(settings=used, judge=EmbeddedJudge())


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


def test_rubrics_check_checks_every_file_and_names_the_line(cli: Cli, tmp_path: Path) -> None:
    head = 'name = "mine"\ndescription = "d"\n\n[[criteria]]\ntitle = "T"\npolarity = '
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    verdicts = "".join(f'{at} = "m"\n{at}_example = "e"\n' for at in ("zero", "one", "two"))
    good.write_text(f'{head}"positive"\nlooks_at = "l"\n{verdicts}')
    bad.write_text(f'{head}"up"\n')
    result = cli("rubrics", "check", bad, good)
    assert result.exit_code == 2
    assert f"{good}: ok: mine, 1 criteria" in result.stdout
    assert f"{bad}, line 6: " in result.stderr
    assert cli("rubrics", "check", good).exit_code == 0


def test_what_a_rubric_file_says_steers_no_terminal(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "bad"\ndescription = "d"\n[[criteria]]\ntitle = "T\\u001b[31m\\u202e"\n')
    result = cli("rubrics", "check", bad)
    assert result.exit_code == 2
    assert "T<U+001B>[31m<U+202E>" in result.stderr
    assert not {"\x1b", "\u202e"} & set(result.stderr)


def cells_of(stdout: str) -> list[str]:
    (cells,) = (line.split() for line in stdout.splitlines() if "rows.jsonl" in line)
    return cells


def test_agree_measures_a_judge(cli: Cli, rows: WriteRows) -> None:
    result = cli("agree", "--judge", "embedded", rows(LABELLED))
    assert result.exit_code == 0
    cells = cells_of(result.stdout)
    assert cells[:4] == ["rows.jsonl", "4", "0", "1.000"]
    assert cells[-1] == "1.000"


def test_agree_prints_a_criterion_as_text(cli: Cli, rows: WriteRows) -> None:
    title = "\x1b[31m[bold]\u202e"
    row = {"criterion": f"{title}: it is red.", "polarity": "positive", "response": "Red."}
    judged = [{**row, "human_label": label} for label in (0.0, 1.0)]
    result = cli("agree", "--judge", "embedded", rows(judged))
    assert result.exit_code == 0
    assert "<U+001B>[31m[bold]<U+202E>" in "".join(result.stdout.split())
    assert not {"\x1b", "\u202e"} & set(result.stdout)


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
    assert cells_of(result.stdout) == ["rows.jsonl", "0", "4", "–", "–", "–", "–"]


def test_agree_names_a_bad_row(cli: Cli, rows: WriteRows) -> None:
    result = cli("agree", rows([*LABELLED, {"claim": "c", "human_label": "maybe"}]))
    assert result.exit_code == 2
    assert "rows.jsonl:5" in result.stderr
