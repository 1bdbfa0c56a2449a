"""`make train-demo` in miniature: the real policy, a real service, two steps."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import httpx
import pytest

from citemark_grpo.training.journal import read_lines
from support.command_line import EXAMPLES

pytestmark = [pytest.mark.train, pytest.mark.timeout(2000)]

PATIENCE_S = 1800.0
KEYS = ("reward_first_fifth", "reward_last_fifth", "steps", "judge_failures", "seconds")


def demo(runs: Path, *options: str) -> list[str]:
    script = str(EXAMPLES / "train_demo.py")
    return [sys.executable, script, "--runs", str(runs), "--warm-steps", "1", *options]


def ended(runs: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo(runs, *options), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def services(runs: Path) -> list[str]:
    """The reward URLs that the run's processes were given; empty where none runs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile
        if "citemark_grpo" in words and any(str(runs) in word for word in words):
            found.append(words[words.index("--reward_url") + 1])
    return found


def test_it_trains_and_ends_with_its_summary(tmp_path):
    done = ended(tmp_path, "--steps", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    run = tmp_path / "train-demo-embedded-42"
    first, last = read_lines(run / "journal.jsonl")
    assert tuple(summary) == KEYS
    assert summary["steps"] == 2
    assert summary["judge_failures"] == 0
    for key, line in (("reward_first_fifth", first), ("reward_last_fifth", last)):
        rewards = [reward for reward in line.rewards if reward is not None]
        assert len(rewards) == 16
        assert summary[key] == pytest.approx(fmean(rewards), abs=1e-4)
    assert (run / "rewards.png").read_bytes().startswith(b"\x89PNG")
    assert len(re.findall(r"^== step-00000[12]$", done.stdout, re.MULTILINE)) == 2
    check_what_is_left(run)


def check_what_is_left(run: Path) -> None:
    """The policy once, ready to load, and no checkpoint of a run that nobody goes on with."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = [file.relative_to(run) for file in run.rglob("*") if file.stat().st_size > 10_000_000]
    assert weights == [Path("model.safetensors")]
    assert not [path for path in run.iterdir() if path.name.startswith((".start", "checkpoint"))]
    assert AutoModelForCausalLM.from_pretrained(run).num_parameters() > 100_000_000
    assert AutoTokenizer.from_pretrained(run).chat_template
    assert (run / "README.md").read_text().startswith("---\nlicense: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_from_outside_it_leaves_nothing_running(tmp_path, number):
    with subprocess.Popen(
        demo(tmp_path, "--steps", "1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            gives_up = time.monotonic() + PATIENCE_S
            while not (urls := services(tmp_path)):
                assert process.poll() is None
                assert time.monotonic() < gives_up
                time.sleep(0.2)
            assert httpx.get(f"{urls[0]}/healthz").is_success
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 128 + number
            assert b"reward_first_fifth" not in said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert not services(tmp_path)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{urls[0]}/healthz")


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--steps", "2", "--judge", "nobody"], 2, "the service ended with status 2"),
        (["--steps", "-2"], 1, "GRPO ended with status 2"),
    ],
)
def test_a_stage_that_fails_ends_the_demo_without_a_summary(tmp_path, options, status, told):
    done = ended(tmp_path, *options)
    assert done.returncode == status
    assert told in done.stderr
    assert "reward_first_fifth" not in done.stdout
    assert not list((tmp_path / "train-demo-embedded-42").rglob("*.safetensors"))
