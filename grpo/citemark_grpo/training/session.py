"""One run from its plan to its end."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transformers import PreTrainedTokenizerBase, TrainerCallback

from citemark_grpo.settings import secret
from citemark_grpo.training.assemble import build_trainer, token_count
from citemark_grpo.training.dry_run import row_lines
from citemark_grpo.training.errors import Declined, PolicyUnsaved, Stopped
from citemark_grpo.training.loading import raw_rows
from citemark_grpo.training.plan import Plan, Service
from citemark_grpo.training.policy import check_model, load_tokenizer
from citemark_grpo.training.recording import model_card, run_watch
from citemark_grpo.training.reward import CitemarkReward, Metrics, PatientScorer
from citemark_grpo.training.rows import Prepared, RowReader
from citemark_grpo.training.stopping import signal_of
from citemark_grpo.training.survival.folders import Checkpoint, Kind, complete, last_complete
from citemark_grpo.training.survival.storage import Outlived
from citemark_grpo.training.trainer import RefinerTrainer

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Material:
    """What a run is made of before a model is loaded."""

    tokenizer: PreTrainedTokenizerBase
    prepared: Prepared
    prompt_version: str
    """Of the refiner's template."""


def gather(plan: Plan) -> Material:
    """Look at the model, load the tokenizer, read the rows. Raises `RowsUnusable`, `Declined`."""
    check_model(plan.policy)
    tokenizer = load_tokenizer(plan.policy)
    template = plan.trainer.get("chat_template_kwargs") or {}
    reader = RowReader(plan.rows, count=token_count(tokenizer, template), knobs=plan.knobs)
    prepared = reader.prepared(raw_rows(plan.rows.dataset, plan.rows.split))
    return Material(tokenizer, prepared, reader.prompt.version)


def build(
    plan: Plan,
    material: Material,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    observers: Sequence[Metrics] = (),
) -> RefinerTrainer:
    """The trainer of a run; see `assemble.build_trainer` for what it raises."""
    scorer = PatientScorer(plan.service, plan.knobs, headers=_credentials(plan.service))
    watch = run_watch(plan)
    reward = CitemarkReward(scorer, run=plan.service.run, observers=[watch, *observers])
    return build_trainer(
        plan,
        material.prepared.rows,
        reward,
        tokenizer=material.tokenizer,
        watch=watch,
        card=model_card(plan, watch, prompt_version=material.prompt_version),
        callbacks=callbacks,
    )


def _credentials(service: Service) -> dict[str, str] | None:
    held = None if service.token is None else service.token.get_secret_value()
    token = secret("CITEMARK_API_TOKEN") or held
    return None if token is None else {"authorization": f"Bearer {token}"}


def run(plan: Plan, *, say: Callable[[str], None]) -> None:
    """Train from the plan's start to its end, and leave the policy in the output folder.

    Raises:
        Declined, RowsUnusable, MissingExtra: it cannot begin; said before the policy is loaded.
        JudgementsMissing: see `RefinerTrainer`.
        PolicyUnsaved: the disk had no room for what was trained.
        Stopped: an interrupt ended it; nothing is written then, see `stopping`.
    """
    make_folder(plan)
    checkpoint = checkpoint_of(plan)
    material = gather(plan)
    trainer = build(plan, material)
    if trainer.is_world_process_zero():
        for line in row_lines(material.prepared):
            say(line)
        say(f"goes on from {checkpoint}" if checkpoint else "starts anew")
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
        with Outlived("the policy", _log) as writing:
            trainer.save_model()
    except KeyboardInterrupt as interrupt:
        where = f"after step {trainer.state.global_step}. {way_on(plan)}"
        raise Stopped(signal_of(interrupt), where) from interrupt
    if writing.failed:
        unsaved(plan, trainer.state.global_step)


def unsaved(plan: Plan, step: int) -> None:
    """After a disk that was full at the very end: a checkpoint of the last step does as well.

    Raises:
        PolicyUnsaved: there is none.
    """
    output = Path(plan.trainer["output_dir"])
    for torn in output.glob("*.safetensors"):
        torn.unlink()
    held = [each.path for each in complete(output) if each.step == step]
    if not held:
        raise PolicyUnsaved(f"the disk is full, the policy is not saved. {way_on(plan)}")
    _log.error("DISK FULL: the trained policy is in %s alone", held[-1])


def make_folder(plan: Plan) -> None:
    """Make the output folder. Raises `Declined` where that cannot be, or nobody may write there."""
    output = Path(plan.trainer["output_dir"])
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Declined({"output_dir": f"cannot be made: {error}"}) from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise Declined({"output_dir": f"{output} may not be written to"})


def way_on(plan: Plan) -> str:
    """From which checkpoint an unfinished run goes on, and how."""
    newest = last_complete(Path(plan.trainer["output_dir"]))
    if newest is None:
        return "No checkpoint is whole yet: the same command begins where this one did."
    flag = "" if plan.course.resume == "auto" else " with --resume auto"
    return f"{newest} is whole: the same command{flag} goes on from it."


def checkpoint_of(plan: Plan) -> str | None:
    """The folder that the run goes on from, None where it starts anew.

    Raises:
        Declined: `--resume` names a folder that is no whole checkpoint, or the output folder
            holds checkpoints of steps that this run would do again.
    """
    resume, output = plan.course.resume, Path(plan.trainer["output_dir"])
    if resume == "auto":
        newest = last_complete(output)
        return None if newest is None else str(newest)
    chosen = None if resume == "never" else _chosen(Path(resume))
    done = 0 if chosen is None else chosen.step
    if later := [each.path.name for each in complete(output) if each.step > done]:
        raise Declined(
            {
                "resume": f"{output} holds {', '.join(later)}; go on from the newest with auto, "
                "remove them, or name another folder"
            }
        )
    return None if chosen is None else str(chosen.path)


def _chosen(folder: Path) -> Checkpoint:
    found = [each for each in complete(folder.parent) if each.path.name == folder.name]
    if not found or found[0].kind is not Kind.FULL:
        raise Declined({"resume": f"{folder} is no complete checkpoint"})
    return found[0]
