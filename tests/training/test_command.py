"""The command `citemark-grpo train`, stopped and called again, and what it leaves for people."""

import signal
import sys

import pytest
from ruamel.yaml import YAML

from citemark_grpo.training.checkpoints import list_complete
from citemark_grpo.training.journal import read_lines
from support.scripted_service import Service, answering, dripping
from support.small_disk import fill, mounted
from training.train_command import PATIENCE_S, await_call, called, command, started, succeeded

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # what the libraries say of their own next versions
]

ALL_STEPS = [1, 2, 3, 4, 5, 6]


def test_a_killed_command_called_again_ends_as_if_nothing_had_happened(
    tmp_path, flags, service: Service
):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    succeeded(command(flags(unbroken)))
    service.requests.clear()
    with started(command(flags(broken))) as process:
        await_call(service, 4, process)
    assert process.returncode == -signal.SIGKILL
    ended = succeeded(command(flags(broken)))
    assert "goes on from" in ended.stdout
    assert "step 6: reward" in ended.stderr
    left, right = (list(read_lines(run / "journal.jsonl")) for run in (unbroken, broken))
    assert [line.rewards for line in left] == [line.rewards for line in right]
    assert [line.metrics["loss"] for line in left] == [line.metrics["loss"] for line in right]
    assert len({tuple(line.rewards) for line in left}) == len(ALL_STEPS)

    check_card(broken / "checkpoint-6")
    check_board(broken / "tensorboard")
    pages = {path.name for path in (broken / "rollouts").glob("*.html")}
    assert pages == {"step-000003.html", "step-000006.html"}
    succeeded([sys.executable, "-m", "citemark_grpo", "plot", str(broken)])
    assert (broken / "rewards.png").read_bytes().startswith(b"\x89PNG")

    for resume, held in [
        ("never", "checkpoint-4, checkpoint-6"),
        (f"{broken}/checkpoint-4", "checkpoint-6"),
    ]:
        again = called(command(flags(broken, resume=resume)))
        assert again.returncode == 2
        assert f"holds {held}" in again.stderr
    assert [each.step for each in list_complete(broken)] == [4, 6]


def check_card(checkpoint):
    _, front, body = (checkpoint / "README.md").read_text().split("---\n", 2)
    card = YAML(typ="safe").load(front)
    assert card["license"] == "apache-2.0"
    assert card["library_name"] == "transformers"
    assert "| `verification_reward` | `10.0` |" in body
    assert "| `learning_rate` | `0.001` |" in body
    assert "static_rubrics" in body
    assert str(checkpoint.parent) not in body
    assert "127.0.0.1" not in body


def read_board(folder, name):
    """The steps that have an event of that name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


def check_board(folder):
    for name in ("score/reward", "score/citation_f1", "score/failure_rate", "kl",
                 "completions/mean_length", "checkpoint/skipped"):  # fmt: skip
        assert read_board(folder, f"train/{name}") == ALL_STEPS, name


WHOLE = "checkpoint-2 is whole: the same command"


@pytest.mark.parametrize(
    ("number", "resume", "call", "said"),
    [
        (signal.SIGINT, "auto", 4, f"SIGINT after step 3. RUN/{WHOLE} goes on from it."),
        # A run that begins anew is told the flag to go on with.
        (signal.SIGTERM, "never", 3,
         f"SIGTERM after step 2. RUN/{WHOLE} with --resume auto goes on from it."),
        (signal.SIGTERM, "auto", 1, "SIGTERM after step 0. No checkpoint is whole yet: "
         "the same command begins where this one did."),
    ],
)  # fmt: skip
def test_stopped_it_says_where_and_how_to_go_on(
    tmp_path, flags, service: Service, *, number, resume, call, said
):
    output = tmp_path / "run"
    service.steps = [*[answering] * (call - 1), dripping]
    with started(command(flags(output, resume=resume))) as process:
        await_call(service, call, process)
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert "Traceback" not in told
    assert "Aborted" not in told
    expected = f"citemark-grpo: stopped by {said.replace('RUN', str(output))}"
    assert told.splitlines()[-1] == expected
    if resume == "auto" and call > 1:
        ended = succeeded(command(flags(output)))
        assert f"goes on from {output / 'checkpoint-2'}" in ended.stdout
        assert [line.step for line in read_lines(output / "journal.jsonl")] == ALL_STEPS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_board_outlives_a_full_disk_and_writes_again(tmp_path):
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
                ballast = fill(disk)
            if step == 30:
                ballast.unlink()
            board.on_log(*told, TrainerControl(), logs={f"a{n}": 1.0 for n in range(50)})
        board.on_train_end(*told, TrainerControl())
        steps = read_board(disk / "board", "train/a0")
    assert {*range(1, 10), *range(31, 40)} <= set(steps)
    assert len(steps) < 39
