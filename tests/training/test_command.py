"""The command `citemark-grpo train`, killed and called again, and what it leaves for people."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from citemark_grpo.training.checkpoints import list_complete
from citemark_grpo.training.journal import read_lines
from support.scripted_service import Service
from support.small_disk import mounted
from training.train_command import ENVIRONMENT, STEPS, called, command

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # what the libraries say of their own next versions
]


def kill_after(step: int, output: Path, given: list[str]) -> None:
    journal = output / "journal.jsonl"
    with subprocess.Popen(
        given, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            if journal.exists() and any(line.step >= step for line in read_lines(journal)):
                break
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_killed_command_called_again_ends_as_if_nothing_had_happened(
    tmp_path, policy, rows_file, service: Service
):
    given = {"url": service.url, "policy": policy, "rows": rows_file}
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    ended = called(*command(unbroken, **given))
    assert ended.returncode == 0, ended.stderr[-3000:]
    kill_after(3, broken, command(broken, **given))
    ended = called(*command(broken, **given))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "goes on from" in ended.stdout
    assert "step 6: reward" in ended.stderr
    left, right = (list(read_lines(run / "journal.jsonl")) for run in (unbroken, broken))
    assert [line.rewards for line in left] == [line.rewards for line in right]
    assert [line.metrics["loss"] for line in left] == [line.metrics["loss"] for line in right]
    assert len({tuple(line.rewards) for line in left}) == STEPS

    check_card(broken / "checkpoint-6")
    check_board(broken / "tensorboard")
    assert {path.name for path in (broken / "rollouts").glob("*.html")} == {
        "step-000003.html",
        "step-000006.html",
    }
    drawn = called(sys.executable, "-m", "citemark_grpo", "plot", str(broken))
    assert drawn.returncode == 0, drawn.stderr
    assert (broken / "rewards.png").read_bytes().startswith(b"\x89PNG")

    again = called(*command(broken, **given, resume="never"))
    assert again.returncode == 2
    assert "holds checkpoint-4, checkpoint-6" in again.stderr
    earlier = called(*command(broken, **given, resume=str(broken / "checkpoint-4")))
    assert earlier.returncode == 2
    assert "holds checkpoint-6" in earlier.stderr
    assert [each.step for each in list_complete(broken)] == [4, 6]


def check_card(checkpoint: Path) -> None:
    _, front, body = (checkpoint / "README.md").read_text().split("---\n", 2)
    card = YAML(typ="safe").load(front)
    assert card["license"] == "apache-2.0"
    assert card["library_name"] == "transformers"
    assert "| `verification_reward` | `10.0` |" in body
    assert "| `learning_rate` | `0.001` |" in body
    assert "static_rubrics" in body
    assert str(checkpoint.parent) not in body
    assert "127.0.0.1" not in body


def check_board(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder)).Reload()
    for name in ("score/reward", "score/citation_f1", "score/failure_rate", "kl",
                 "completions/mean_length", "checkpoint/skipped"):  # fmt: skip
        steps = [event.step for event in board.Scalars(f"train/{name}")]
        assert steps == list(range(1, STEPS + 1)), name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_board_outlives_a_full_disk_and_writes_again(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from citemark_grpo.training.trainer import Board

    with mounted("tmpfs", tmp_path / "disk", 1) as disk:
        board = Board(disk / "board")
        state = TrainerState(is_world_process_zero=True)
        told = (TrainingArguments(str(tmp_path), use_cpu=True, report_to="none"), state)
        board.on_train_begin(*told, TrainerControl())
        for step in range(1, 40):
            state.global_step = step
            if step == 10:
                fill(disk)
            if step == 30:
                (disk / "ballast").unlink()
            board.on_log(*told, TrainerControl(), logs={f"a{n}": 1.0 for n in range(50)})
        board.on_train_end(*told, TrainerControl())
        events = EventAccumulator(str(disk / "board")).Reload().Scalars("train/a0")
    steps = [event.step for event in events]
    assert set(range(1, 10)) <= set(steps)
    assert set(range(31, 40)) <= set(steps)
    assert len(steps) < 39


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
