"""A whole GRPO run in seconds: a random policy of a few thousand weights, a judge of arithmetic.

Run as a program, so that it can be killed and its disk can fill up:

    python tiny_run.py OUTPUT --steps 12 --save-steps 3 …
"""

import argparse
import asyncio
import contextlib
import hashlib
import logging
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl import GRPOConfig

from citemark_grpo.training.checkpoints import find_resumable
from citemark_grpo.training.disk import Room, check_room, free_bytes
from citemark_grpo.training.journal import Journal
from citemark_grpo.training.keeper import CheckpointKeeper, Ranks
from citemark_grpo.training.pages import ModelCard, SamplePages
from citemark_grpo.training.plan import Plan, plan_run
from citemark_grpo.training.reward import CitemarkReward
from citemark_grpo.training.trainer import Board, RefinerTrainer
from citemark_grpo.training.watch import RunWatch
from citemark_schemas import FormatReport, JudgeUsage, Knobs, Rollout, ScoreResult, Versions

LETTERS = "abcdefghijklmnopqrstuvwxyz .,"
KNOBS = Knobs(verification_reward=10.0)


def write_policy(folder: Path, *, hidden: int) -> None:
    """A random model and a tokenizer of single letters."""
    words = ["<pad>", "<eos>", "<unk>", *LETTERS]
    spelling = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>")
    )
    spelling.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=hidden, intermediate_size=2 * hidden,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64,
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Ballast:
    """Another user of the disk, who leaves only some of it free between two steps."""

    folder: Path
    first: int
    last: int
    free: int
    """Bytes left."""

    def at(self, step: int) -> None:
        file = self.folder / "ballast"
        if step == self.first and not file.exists():
            with file.open("wb") as out, contextlib.suppress(OSError):
                while free_bytes(self.folder) > self.free:
                    out.write(bytes(4096))
                    out.flush()
        elif step == self.last:
            file.unlink(missing_ok=True)


def hopeful(folder: Path, size: int) -> Room:
    """A check that never refuses, as where the disk fills up after it."""
    return Room(fits=True, free=free_bytes(folder), source="statvfs")


class LetterJudge(CitemarkReward):
    """Pays for vowels; fails for one response in some, always for the same ones."""

    __name__ = "letters"

    def __init__(self, plan: Plan, ballast: "Ballast", *, seconds: float) -> None:
        super().__init__(plan.service, plan.knobs)
        self._ballast = ballast
        self._seconds = seconds

    async def _score(self, rollouts):
        await asyncio.sleep(self._seconds)
        self._ballast.at(rollouts[0].step)
        # Draws as much chance as a library in a trainer might, from every generator there is.
        random.random()
        return [self._result(rollout) for rollout in rollouts], "a letter in 23"

    def _result(self, rollout: Rollout) -> ScoreResult | None:
        text = rollout.response
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        if int(digest, 16) % 23 == 0:
            return None
        share = sum(text.count(vowel) for vowel in "aeiou") / max(1, len(text))
        return ScoreResult(
            id="0", reward=10.0 * share, rubric_reward=share, citation=None,
            format=FormatReport(checks={}, bonus=1.0), judge=JudgeUsage(model="letters"),
            knobs=KNOBS, rollout_hash=digest,
            versions=Versions(service="0", scoring="1", prompts="letters", static_rubrics="none"),
        )  # fmt: skip


def row_of(prompt: str) -> str:
    rollout = Rollout(question=prompt, tool_output="", response="", group=prompt)
    return rollout.model_dump_json(exclude_unset=True)


def config_of(given: argparse.Namespace) -> GRPOConfig:
    return GRPOConfig(
        str(given.output),
        max_steps=given.steps, save_steps=given.save_steps, save_total_limit=given.keep,
        per_device_train_batch_size=4, num_generations=4, max_completion_length=8,
        gradient_accumulation_steps=given.accumulation,
        steps_per_generation=given.steps_per_generation, num_iterations=given.iterations,
        beta=0.01, learning_rate=3e-2, lr_scheduler_type="linear", logging_steps=1, report_to=[],
        disable_tqdm=True, use_cpu=True, bf16=False, seed=11, gradient_checkpointing=False,
        dataloader_pin_memory=False,
    )  # fmt: skip


def trainer_of(given: argparse.Namespace) -> RefinerTrainer:
    policy = given.policy
    if not policy.exists():
        write_policy(policy, hidden=given.hidden)
    watch = RunWatch(
        Journal(given.output / "journal.jsonl"),
        SamplePages(given.output / "rollouts", count=3),
        pages_every=4,
    )
    plan = plan_run(
        {"model_name_or_path": "example/tiny", "dataset": "letters", "run_name": "tiny"}
    )
    config = config_of(given)
    prompts = [f"{first}{second} " for first in LETTERS[:3] for second in LETTERS[:2]]
    trainer = RefinerTrainer(
        str(policy),
        reward=LetterJudge(plan, Ballast(*given.ballast), seconds=given.seconds),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts, "rollout": list(map(row_of, prompts))}),
        processing_class=PreTrainedTokenizerFast.from_pretrained(policy),
        callbacks=[Board(given.output / "tensorboard")],
        keeper=CheckpointKeeper(
            given.output,
            keep=given.keep,
            ranks=Ranks(leads=config.process_index == 0),
            room=hopeful if given.hopeful else check_room,
        ),
        card=ModelCard(plan, "letters", last_result=lambda: watch.last_result),
        watch=watch,
        max_failed_share=1.0,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--save-steps", type=int, default=3)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--steps-per-generation", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--ballast", type=ballast, default=(Path(), -1, -1, 0))
    parser.add_argument("--hopeful", action="store_true")
    return parser.parse_args()


def ballast(text: str) -> tuple[Path, int, int, int]:
    """`folder,first,last,free`"""
    folder, *numbers = text.split(",")
    first, last, free = map(int, numbers)
    return Path(folder), first, last, free


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    given = arguments()
    trainer = trainer_of(given)
    begins_at = find_resumable(given.output)
    trainer.train(resume_from_checkpoint=None if begins_at is None else str(begins_at))
    sys.stdout.write(f"ended at {trainer.state.global_step}\n")


if __name__ == "__main__":
    main()
