"""`make train-demo`: a small policy learns on the CPU to find, copy and cite the right snippet.

A short warm start on written examples, then GRPO through `citemark-grpo train` against a service
that this script starts. The last line of output is a JSON summary of the run's journal.

Exit status: 0, 2 where the service did not start, 1 where a stage failed, 128 and its number where
a signal ended it; without 0 there is no summary.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import FrameType
from typing import NoReturn

import click
import torch
from demo import NotStarted, running_service

from citemark_grpo.training.journal import JournalLine, read_lines
from citemark_service.judges.smollm2 import model_file

HERE = Path(__file__).parent / "train"
RUNS = Path(__file__).parents[1] / "runs"
WARM_STEPS = 9
# Every prompt once in each fifth of the run, so that first and last are of the same prompts.
STEPS = {"embedded": 30}
STEPS_OF_A_MODEL = 10
STAGE_S = 3 * 3600.0
# Waiting threads that spin would take their cores from the service.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
FLAGS = {
    "verification_reward": 10.0,
    # A static set pays an empty answer for the defects that it avoids.
    "refiner_reward_instance_rubrics_only": "true",
    # At 0.2 so small a policy finds that a bare copy is nearly as good, and stops citing.
    "refiner_reward_paper_citation_weight": 0.5,
    "beta": 0,
    "learning_rate": 3e-5,
    "num_unique_prompts_rollout": 4,
    "num_samples_per_prompt_rollout": 4,
    "per_device_train_batch_size": 8,
    "max_prompt_token_length": 256,
    "response_length": 40,
    "attn_implementation": "eager",
    "gradient_checkpointing": "false",
    "report_to": "tensorboard",
    "resume": "never",
    # It is never gone on with, and a checkpoint is three times the policy's size.
    "save_steps": 0,
    "samples_every": 1,
}


class StageFailed(Exception):
    """A process of the demo failed, did not end, or left less than it should have."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The run in a line; rewards are means before the verification scale."""

    reward_first_fifth: float | None
    reward_last_fifth: float | None
    steps: int
    judge_failures: int
    seconds: float


def mean_reward(journal: Sequence[JournalLine]) -> float | None:
    """Of all rollouts in these steps that were judged; None where none was."""
    rewards = [reward for line in journal for reward in line.rewards if reward is not None]
    return round(fmean(rewards), 4) if rewards else None


def summarise(journal: Sequence[JournalLine], seconds: float) -> Summary:
    """The summary of at least one step."""
    fifth = max(1, len(journal) // 5)
    rewards = chain.from_iterable(line.rewards for line in journal)
    return Summary(
        reward_first_fifth=mean_reward(journal[:fifth]),
        reward_last_fifth=mean_reward(journal[-fifth:]),
        steps=len(journal),
        judge_failures=sum(reward is None for reward in rewards),
        seconds=round(seconds, 1),
    )


def run_stage(name: str, *command: object) -> None:
    """Run one process of the demo to its end. Raises `StageFailed`."""
    click.echo(f"== {name}")
    words = [sys.executable, *map(str, command)]
    try:
        subprocess.run(words, env={**os.environ, **PATIENT}, timeout=STAGE_S, check=True)  # noqa: S603  our own
    except subprocess.CalledProcessError as error:
        raise StageFailed(f"{name} ended with status {error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise StageFailed(f"{name} took longer than {STAGE_S:.0f} s") from error


def calculates_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16; without, it is slower than float32."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def warm_start(folder: Path, *, steps: int, seed: int) -> None:
    """Make the warm-started policy in `folder`."""
    options = ["--steps", steps, "--seed", seed]
    options += ["--bf16"] if calculates_bfloat16() else []
    run_stage("warm start", HERE / "warm_start.py", model_file(), folder, *options)


def train(start: Path, run: Path, url: str, *, steps: int, seed: int) -> None:
    """GRPO from the warm-started policy, as anyone would start it; leaves the policy in `run`."""
    own = {
        "model_name_or_path": start,
        "dataset": HERE / "rows.jsonl",
        "prompt_template": HERE / "prompt.j2",
        "reward_url": url,
        "output_dir": run,
        "max_steps": steps,
        "seed": seed,
        "dtype": "mixed" if calculates_bfloat16() else "float32",
    }
    flags = chain.from_iterable((f"--{name}", value) for name, value in {**FLAGS, **own}.items())
    run_stage("GRPO", "-m", "citemark_grpo", "train", *flags)


def show_samples(run: Path) -> None:
    """The policy's own words, worst to best, from the first and the last step that has a page."""
    pages = sorted((run / "rollouts").glob("*.jsonl"))
    for page in dict.fromkeys((pages[0], pages[-1])):
        click.echo(f"== {page.stem}")
        for text in page.read_text(encoding="utf-8").splitlines():
            sample = json.loads(text)
            click.echo(f"{sample['reward']}  {sample['response']!r}")


def demonstrate(judge: str, run: Path, *, warm_steps: int, steps: int, seed: int) -> Summary:
    """The whole demo, into a folder that is made anew."""
    began = time.monotonic()
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    # In the run's folder, since it may be too large for the system's own temporary one.
    with (
        running_service(judge, run / "ledger.db") as url,
        TemporaryDirectory(dir=run, prefix=".start-") as folder,
    ):
        start = Path(folder) / "warm-start"
        warm_start(start, steps=warm_steps, seed=seed)
        train(start, run, url, steps=steps, seed=seed)
    run_stage("plot", "-m", "citemark_grpo", "plot", run)
    journal = read_journal(run, steps)
    show_samples(run)
    return summarise(journal, time.monotonic() - began)


def read_journal(run: Path, steps: int) -> list[JournalLine]:
    """The journal of all steps. Raises `StageFailed` where some are missing."""
    journal = list(read_lines(run / "journal.jsonl"))
    if len(journal) != steps:
        raise StageFailed(f"GRPO left {len(journal)} of {steps} steps in {run / 'journal.jsonl'}")
    return journal


def end(number: int, _: FrameType | None) -> NoReturn:
    """End by an exception, so that the service and the stage are ended too."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", default="embedded", help="embedded or smollm2")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, help="of GRPO; a model as judge takes longer for each")
    parser.add_argument("--warm-steps", type=int, default=WARM_STEPS, help="before GRPO")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the run's folder is made")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    steps = given.steps or STEPS.get(given.judge, STEPS_OF_A_MODEL)
    run = given.runs.resolve() / f"train-demo-{given.judge}-{given.seed}"
    try:
        found = demonstrate(
            given.judge, run, warm_steps=given.warm_steps, steps=steps, seed=given.seed
        )
    except NotStarted as error:
        click.echo(str(error), err=True)
        return 2
    except StageFailed as error:
        click.echo(str(error), err=True)
        return 1
    click.echo(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
