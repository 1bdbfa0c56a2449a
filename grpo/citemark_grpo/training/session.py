"""One training run."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import datasets
from transformers import PreTrainedTokenizerBase, PrinterCallback, ProgressCallback

from citemark_grpo.settings import secret
from citemark_grpo.training.checkpoints import Contents, find_resumable, list_complete
from citemark_grpo.training.config import build_config
from citemark_grpo.training.disk import outlive_full_disk
from citemark_grpo.training.dry_run import report_rows
from citemark_grpo.training.errors import Declined, PolicyUnsaved, RowsUnusable, Stopped
from citemark_grpo.training.journal import JOURNAL, Journal
from citemark_grpo.training.keeper import CheckpointKeeper, Ranks
from citemark_grpo.training.pages import ModelCard, SamplePages
from citemark_grpo.training.plan import Plan
from citemark_grpo.training.policy import check_model, load_tokenizer
from citemark_grpo.training.reward import CitemarkReward
from citemark_grpo.training.rows import Message, PreparedRows, RowPreparer, read_rows
from citemark_grpo.training.trainer import Board, RefinerTrainer
from citemark_grpo.training.watch import RunWatch

_log: Final = logging.getLogger(__name__)


def prepare_rows(plan: Plan) -> tuple[PreTrainedTokenizerBase, PreparedRows]:
    """Check the model, load its tokenizer and read the rows; the model is not loaded yet.

    Raises `Declined` for the model or its tokenizer, `RowsUnusable` for the rows or the template.
    """
    check_model(plan.policy)
    tokenizer = load_tokenizer(plan.policy)
    template = plan.trainer.get("chat_template_kwargs") or {}

    def count_tokens(prompt: Sequence[Message]) -> int:
        encoded = tokenizer.apply_chat_template(
            [dict(turn) for turn in prompt],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **template,
        )
        return len(encoded["input_ids"])

    preparer = RowPreparer(plan.rows, count=count_tokens, knobs=plan.knobs)
    return tokenizer, preparer.prepare(read_rows(plan.rows.dataset, plan.rows.split))


def build_trainer(
    plan: Plan, tokenizer: PreTrainedTokenizerBase, prepared: PreparedRows
) -> RefinerTrainer:
    """A trainer that is ready to `train()`; loads the policy.

    Raises as `build_config`, and `RowsUnusable` for fewer rows than prompts in a step.
    """
    rows = prepared.rows
    if (refusal := plan.batch.reject_rows(len(rows))) is not None:
        raise RowsUnusable(refusal)
    config = build_config(plan)
    output = Path(plan.trainer["output_dir"])
    watch = RunWatch(
        Journal(output / JOURNAL),
        SamplePages(output / "rollouts"),
        pages_every=plan.samples_every,
    )
    token = secret("CITEMARK_API_TOKEN")
    boards = [Board(output / "tensorboard")] if "tensorboard" in plan.trainer["report_to"] else []
    columns = {
        "prompt": [[dict(turn) for turn in row.prompt] for row in rows],
        "rollout": [row.rollout for row in rows],
    }
    trainer = RefinerTrainer(
        plan.policy.path,
        reward=CitemarkReward(plan.service, plan.knobs, token=token),
        args=config,
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=tokenizer,
        callbacks=boards,
        keeper=CheckpointKeeper(
            Path(config.output_dir),
            keep=config.save_total_limit,
            ranks=Ranks(leads=config.process_index == 0),
        ),
        card=ModelCard(plan, prepared.prompt_version, last_result=lambda: watch.last_result),
        watch=watch,
        max_failed_share=plan.service.max_failed_share,
    )
    # Both print, which fails where output goes to a full disk; `RunWatch` logs each step instead.
    for printing in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(printing)
    return trainer


def run_training(plan: Plan, *, say: Callable[[str], None]) -> None:
    """Train and save the policy in the output folder; raises any `TrainingError`."""
    output = Path(plan.trainer["output_dir"])
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Declined({"output_dir": f"cannot be made: {error}"}) from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise Declined({"output_dir": f"{output} may not be written to"})
    checkpoint = find_start(plan)
    tokenizer, prepared = prepare_rows(plan)
    trainer = build_trainer(plan, tokenizer, prepared)
    if trainer.is_world_process_zero():
        for line in report_rows(prepared):
            say(line)
        say(f"goes on from {checkpoint}" if checkpoint else "starts anew")
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
        with outlive_full_disk("the policy", _log) as writing:
            trainer.save_model()
    except KeyboardInterrupt as interrupt:
        # No checkpoint is written: a signal comes in the middle of a step, whose half-used
        # generation and half-summed gradients no exact resume could begin from; the step's end may
        # be minutes away; and a large policy takes longer to write than launchers and schedulers
        # wait before they kill. At most --save_steps steps are lost, and a resumed run does them
        # again with the same rewards.
        where = f"after step {trainer.state.global_step}. {describe_way_on(plan)}"
        raise Stopped(interrupt, where) from interrupt
    if writing.failed:
        settle_unsaved(plan, trainer.state.global_step)


def settle_unsaved(plan: Plan, step: int) -> None:
    """Remove the torn policy; raises `PolicyUnsaved` unless the last step has a checkpoint."""
    output = Path(plan.trainer["output_dir"])
    # They have the policy's final names, and would be loaded as such.
    for torn in output.glob("*.safetensors"):
        torn.unlink()
    held = [each.path for each in list_complete(output) if each.step == step]
    if not held:
        raise PolicyUnsaved(f"the disk is full, the policy is not saved. {describe_way_on(plan)}")
    _log.error("DISK FULL: the trained policy is in %s alone", held[-1])


def describe_way_on(plan: Plan) -> str:
    """A sentence about how to resume an unfinished run."""
    newest = find_resumable(Path(plan.trainer["output_dir"]))
    if newest is None:
        return "No checkpoint is whole yet: the same command begins where this one did."
    flag = "" if plan.resume == "auto" else " with --resume auto"
    return f"{newest} is whole: the same command{flag} goes on from it."


def find_start(plan: Plan) -> str | None:
    """The checkpoint to resume from, None to start anew.

    Raises `Declined` where `--resume` names no complete checkpoint, or the output folder has
    checkpoints of steps that this run would repeat.
    """
    resume, output = plan.resume, Path(plan.trainer["output_dir"])
    if resume == "auto":
        newest = find_resumable(output)
        return None if newest is None else str(newest)
    chosen, done = None, 0
    if resume != "never":
        folder = Path(resume)
        named = [each for each in list_complete(folder.parent) if each.path.name == folder.name]
        if not named or named[0].kind is not Contents.FULL:
            raise Declined({"resume": f"{folder} is no complete checkpoint"})
        chosen, done = str(named[0].path), named[0].step
    if later := [each.path.name for each in list_complete(output) if each.step > done]:
        raise Declined(
            {
                "resume": f"{output} holds {', '.join(later)}; go on from the newest with auto, "
                "remove them, or name another folder"
            }
        )
    return chosen
