"""The command line, as far as it needs no torch."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from citemark_grpo.training.cli import main, to_option
from citemark_grpo.training.journal import Journal, JournalLine
from citemark_grpo.training.plan import FLAGS

COMMAND = main.commands["train"]


def parsed(*words: str) -> dict[str, object]:
    with COMMAND.make_context("train", list(words)) as context:
        return {name: value for name, value in context.params.items() if value is not None}


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--non_stop_penalty"], True),
        (["--non_stop_penalty", "true"], True),
        (["--non_stop_penalty", "True"], True),
        (["--non_stop_penalty", "false"], False),
        (["--non_stop_penalty=False"], False),
        (["--non_stop_penalty", "--seed", "3"], True),
    ],
)
def test_a_boolean_stands_alone_or_with_its_value(words, value):
    assert parsed(*words)["non_stop_penalty"] is value


def test_what_is_not_given_is_left_to_the_table():
    assert parsed() == {}
    assert parsed("--learning_rate", "5e-6") == {"learning_rate": 5e-6}


@pytest.mark.parametrize(
    "words",
    [["--nonsense", "1"], ["--beta", "much"], ["--kl_estimator", "kl5"], ["--dry_run", "maybe"]],
)
def test_what_is_unknown_or_malformed_is_refused(words):
    with pytest.raises(click.UsageError):
        parsed(*words)


def test_the_help_shows_every_flag_with_its_default():
    shown = " ".join(CliRunner().invoke(main, ["train", "--help"]).output.split())
    for flag in FLAGS:
        assert f"--{flag.name}" in shown
        help_text = to_option(flag).help or ""
        assert help_text in shown or f"{flag.effect} [" in shown


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib, of the extra train")
    Journal(tmp_path / "journal.jsonl").add(JournalLine(1, 0.0, [0.5], {"score/reward": 0.5}))
    picture = tmp_path / "nowhere" / "plot.png"
    done = CliRunner().invoke(main, ["plot", str(tmp_path), "--output", str(picture)])
    assert done.exit_code == 2
    assert f"{picture} cannot be written" in done.output


def test_the_help_needs_no_torch():
    command = [sys.executable, "-X", "importtime", "-m", "citemark_grpo", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "--dry_run" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert "torch" not in imported
