"""`citemark rescore`: kept rollouts under other knobs, and under another judge."""

import json
import re
from typing import Any

import pytest

from support.command_line import cli
from support.examples import keep_examples


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The 16 examples, kept as step 1 of the run `demo`."""
    address = f"sqlite:///{tmp_path_factory.mktemp('kept') / 'ledger.db'}"
    keep_examples(address)
    return address


def rescored(ledger: str, *flags: str) -> dict[str, Any]:
    """What `citemark rescore --json` prints."""
    found: dict[str, Any] = json.loads(cli("rescore", "--ledger", ledger, *flags, "--json").stdout)
    return found


def test_another_citation_weight_moves_ranks(ledger):
    found = rescored(ledger, "--knob", "citation_weight=3")
    assert found["rollouts"] == len(found["moves"]) == 16
    assert found["groups"] == 4
    assert found["reordered"] > 0
    assert found["mean_new"] > found["mean_old"]


def test_the_table_shows_ranks_and_sums_and_counts_what_cannot_be_known(ledger):
    flags = ("--weight", "Citation Discipline=20", "--run", "demo", "--step", "1")
    shown = cli("rescore", "--ledger", ledger, *flags).stdout
    assert "→" in shown
    assert "4 groups:" in shown
    shown = cli("rescore", "--ledger", ledger, "--knob", "static_rubrics=other").stdout
    assert "13 left out: the static set other was not judged" in shown


def test_a_judge_agrees_with_itself(ledger):
    found = rescored(ledger, "--judge", "embedded")
    assert found["was"] == found["now"] == "embedded (embedded-1)"
    assert found["rewards"]["correlation"] == pytest.approx(1.0)
    assert found["rewards"]["turned"] == 0
    assert (found["sample"], found["failed"]) == (13, {})
    by_title = {each["title"]: each for each in found["criteria"]}
    assert {(each["flips"], each["difference"]) for each in by_title.values()} == {(0, 0.0)}
    assert by_title["claim support"]["kappa"] == 1.0
    assert by_title["Citation Discipline"]["pairs"] == 13


def test_a_sample_is_of_whole_groups(ledger):
    found = rescored(ledger, "--judge", "embedded", "--sample", "3", "--seed", "4")
    assert found["sample"] == found["rewards"]["rollouts"] == 3
    assert found["rewards"]["groups"] >= 1


AWAY = ["--judge", "vllm", "--judge-url", "http://127.0.0.1:9/v1", "--sample", "3"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--run", "unknown"], "the ledger's runs: demo"),
        (["--run", "demo", "--step", "99"], "no rollout is kept there; the run demo has step 1"),
        (["--weight", "Nothing=2"], "no criterion is titled 'Nothing'"),
        (["--weight", "Citation Discipline"], "is not TITLE=WEIGHT"),
        (["--judge", "embedded", "--knob", "citation_weight=1"], "leave --knob"),
        (["--knob", "citation_wieght=1"], "did you mean citation_weight"),
        (AWAY, "the judge failed on all 3"),
        (["--ledger", "sqlite:///none.db"], "name another with --ledger URL"),
        (["--ledger", "off"], "the ledger is off"),
    ],
)
def test_mistakes_are_named(ledger, flags, says):
    env = {"CITEMARK_JUDGE_ATTEMPTS": "1", "CITEMARK_LEDGER": ledger}
    cli("rescore", *flags, status=2, says=says, env=env)


def test_titles_that_are_not_listed_are_counted(ledger):
    told = cli("rescore", "--ledger", ledger, "--weight", "Nothing=2", status=2).stderr
    _, _, there = " ".join(told.split()).partition("there are: ")
    *titles, more = there.split("; ")
    assert len(titles) == 20
    assert "Citation Discipline" in titles
    assert re.fullmatch(r"and [1-9]\d* more", more)


HOSTILE = "\x1b[31m\x1b]0;pwn\x07\u202e\x9b2J"


def test_no_error_lets_a_kept_name_steer_the_terminal(tmp_path):
    address = f"sqlite:///{tmp_path / 'ledger.db'}"
    rubric = {"title": f"t{HOSTILE}", "description": "It is short."}
    keep_examples(address, run=f"esc{HOSTILE}", rubrics=[rubric])
    for arguments in (
        ("rescore", "--run", "nope"),
        ("export", tmp_path / "q.jsonl", "--run", "nope"),
        ("rescore", "--run", f"esc{HOSTILE}", "--step", "9"),
        ("rescore", "--weight", "Nothing=1"),
    ):
        told = cli(*arguments, "--ledger", address, status=2).output
        assert not set(told) & set(HOSTILE) - set("[31m]0;pwn2J")
        assert "<U+001B>]0;pwn<U+0007><U+202E><U+009B>2J" in told
