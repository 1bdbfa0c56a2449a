"""The other commands, what all of them share, and the demo."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from citemark_service.settings import Settings
from support.command_line import EXAMPLES, cli
from support.scripted_judge import MODEL, Answer, Listed, Raw, Reply, Status, always

ROLLOUTS = EXAMPLES / "rollouts.jsonl"
SNIPPET = {"id": "S1", "text": "The ferry has run since 1963 and carries forty cars."}
LABELLED = [
    {"question": "q", "claim": claim, "snippets": [SNIPPET], "human_label": label}
    for claim, label in (
        ("The ferry has run since 1963.", "supported"),
        ("The ferry carries forty cars.", "supported"),
        ("The bridge was painted red in spring.", "not_supported"),
        ("A tunnel opened beneath the strait.", "not_supported"),
    )
]
VERDICTS = '{"1":0,"2":2}'
TOKENS = tuple(Listed(character) for character in VERDICTS)
CRITERION = 'name = "mine"\ndescription = "d"\n[[criteria]]\ntitle = "T\\u001b[31m\\u202e"\n'


@pytest.mark.parametrize("command", ["serve", "score", "explain", "rubrics", "agree"])
def test_every_command_explains_itself(command):
    assert command in cli("--help").stdout
    cli(command, "--help")


def test_the_help_of_serve_fits_a_screen_and_tells_the_real_defaults():
    shown = cli("serve", "--help", env={"COLUMNS": "80"}).stdout
    assert len(shown.splitlines()) <= 24
    assert max(map(len, shown.splitlines())) <= 80
    assert "CITEMARK_" in shown
    shown = " ".join(cli("serve", "--help").stdout.split())
    for name in ("host", "port", "judge", "judge_url", "judge_model", "judge_concurrency"):
        assert f"[{Settings.model_fields[name].default}]" in shown


@pytest.mark.parametrize("command", [["serve"], ["score", ROLLOUTS]])
def test_a_default_set_that_does_not_exist_is_refused_at_the_start(command):
    env = {"CITEMARK_STATIC_RUBRICS": "v9"}
    says = "Error: static_rubrics: unknown static rubric set 'v9'; known: v3"
    cli(*command, status=2, says=says, env=env)


def test_a_default_set_that_is_not_used_need_not_exist():
    env = {"CITEMARK_STATIC_RUBRICS": "v9", "CITEMARK_INSTANCE_RUBRICS_ONLY": "true"}
    cli("score", ROLLOUTS, env=env)


def test_rubrics_show_prints_a_set_that_it_knows():
    shown = cli("rubrics", "show").stdout
    for part in ("v3 (", "+ Citation Discipline (weight 1)", "− Off-Query Padding (weight 1)"):
        assert part in shown
    assert "v3" in cli("rubrics", "show", "v99", status=2, says="v99").stderr


def test_rubrics_check_checks_every_file_and_names_the_line(tmp_path):
    good, bad, hostile = (tmp_path / f"{name}.toml" for name in ("good", "bad", "hostile"))
    head = CRITERION.replace("\\u001b[31m\\u202e", "")
    verdicts = "".join(f'{at} = "m"\n{at}_example = "e"\n' for at in ("zero", "one", "two"))
    good.write_text(f'{head}polarity = "positive"\nlooks_at = "l"\n{verdicts}')
    bad.write_text(f'{head}\npolarity = "up"\n')
    hostile.write_text(CRITERION)
    result = cli("rubrics", "check", bad, hostile, good, status=2, says=f"{bad}, line 6: ")
    assert f"{good}: ok: mine, 1 criteria" in result.stdout
    assert "T<U+001B>[31m<U+202E>" in result.stderr
    assert not {"\x1b", "\u202e"} & set(result.stderr)
    cli("rubrics", "check", good)


def cells_of(stdout: str) -> list[str]:
    (cells,) = (line.split() for line in stdout.splitlines() if "rows.jsonl" in line)
    return cells


def test_agree_measures_a_judge(rows, closed_url):
    cells = cells_of(cli("agree", "--judge", "embedded", rows(LABELLED)).stdout)
    assert [*cells[:3], *cells[5:7]] == ["rows.jsonl", "4", "1.00", "1.00", "1.00–1.00"]
    away = ["--judge", "vllm", "--judge-url", f"{closed_url}/v1"]
    env = {"CITEMARK_JUDGE_ATTEMPTS": "1"}
    failed = cli("agree", *away, rows(LABELLED), status=1, says="4 judgements failed", env=env)
    assert cells_of(failed.stdout) == ["rows.jsonl", "0", *"–––––––"]


def test_agree_prints_a_criterion_as_text(rows):
    criterion = "\x1b[31m[bold]\u202e: it is red."
    row = {"criterion": criterion, "polarity": "positive", "response": "Red."}
    judged = [{**row, "human_label": label} for label in (0.0, 1.0)]
    shown = cli("agree", "--judge", "embedded", rows(judged)).stdout
    assert "<U+001B>[31m[bold]<U+202E>" in "".join(shown.split())
    assert not {"\x1b", "\u202e"} & set(shown)


def test_agree_skips_whole_rollouts_and_names_a_bad_row(rows):
    cli("agree", ROLLOUTS, says="rollouts.jsonl: skipped: ")
    bad = {"claim": "c", "human_label": "maybe"}
    cli("agree", rows([*LABELLED, bad]), status=2, says="rows.jsonl, line 5")


def well(cached: int | None = None, prompt: int = 4000) -> Reply:
    return Reply(VERDICTS, tokens=TOKENS, prompt_tokens=prompt, cached_tokens=cached)


async def examine(start_judge, reply: Answer, *flags: str, **expected: Any) -> str:
    """What the command prints; it runs its own loop, so in a thread."""
    judge = await start_judge(always(reply))
    run = ("doctor", "--judge-url", judge.url, *flags)
    return (await asyncio.to_thread(cli, *run, **expected)).stdout


@pytest.mark.parametrize(
    ("reply", "state", "count", "said"),
    [
        (well(2500), "ok", 4, "2500 of about"),
        (well(), "look", 1, "does not tell"),
        (well(500), "look", 1, "--enable-prefix-caching"),
        (Reply(VERDICTS, cached_tokens=90), "look", 1, "bare verdicts"),
        (Reply("Shelves of books.", cached_tokens=90), "failed", 1, "grammar"),
    ],
    ids=["good", "silent about its cache", "a cold cache", "no logprobs", "ignores the grammar"],
)
async def test_doctor_finds_what_a_server_does(start_judge, reply, state, count, said):
    flags = ("--judge-model", MODEL)
    shown = await examine(start_judge, reply, *flags, status=int(state == "failed"))
    assert shown.count(f" {state} ") == count
    assert said in " ".join(shown.split())


async def test_doctor_fails_for_another_model_than_the_served_one(start_judge):
    shown = await examine(start_judge, Status(404, "unknown to me"), status=1)
    assert f"serves {MODEL}, not" in shown


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Reply(None), "without a reasoning parser"),
        (Status(401, "wrong"), "CITEMARK_JUDGE_API_KEY"),
        (Status(404), "ends in /v1"),
        (Status(429), "takes no more calls"),
        (Status(400, "maximum context length is 2048 tokens"), "--max-model-len"),
        (Raw(b"\x1f\x8b", headers={"content-encoding": "gzip"}), "switch that off"),
    ],
)
async def test_doctor_says_what_to_do_about_a_server_that_fails(start_judge, answer, said):
    env = {"CITEMARK_JUDGE_ATTEMPTS": "1"}
    shown = await examine(start_judge, answer, "--judge-model", MODEL, status=1, env=env)
    assert said in " ".join(shown.split())
    assert "does it run" not in shown


def test_doctor_fails_without_a_server_and_passes_a_judge_that_has_none(closed_url):
    result = cli("doctor", "--judge-url", f"{closed_url}/v1", status=1)
    assert "judge_unreachable" in result.stdout
    assert "embedded" in cli("doctor").stdout


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as `make demo` does, with a token that is another service's: it asks for none."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "CITEMARK_API_TOKEN": "another-services"},
    )


def test_the_demo_shows_every_example():
    done = run_demo()
    assert done.returncode == 0, done.stderr
    for line in ROLLOUTS.read_text().splitlines():
        assert json.loads(line)["id"] in done.stdout
    assert "16 rollouts by embedded" in done.stdout
    assert done.stdout.count("no_answer_block") == 1


def test_the_demo_fails_where_the_service_does_not_start():
    done = run_demo("--judge", "nobody")
    assert done.returncode == 2
    assert "the service ended with status 2" in done.stderr
