"""TRL's GRPOTrainer with complete checkpoints, exact resume and a bound on failed judgements."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from accelerate.utils import gather_object
from transformers.integrations import TensorBoardCallback
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from citemark_grpo.training.checkpoints import Contents
from citemark_grpo.training.disk import outlive_full_disk
from citemark_grpo.training.errors import JudgementsMissing
from citemark_grpo.training.journal import select_finite
from citemark_grpo.training.keeper import CheckpointKeeper, Writer
from citemark_grpo.training.pages import ModelCard
from citemark_grpo.training.reward import CitemarkReward
from citemark_grpo.training.watch import RunWatch

_log: Final = logging.getLogger(__name__)
_REST_BYTES: Final = 4 * 1024 * 1024  # tokenizer, random states, trainer state
_ZERO_STATE_BYTES: Final = 12  # a parameter under ZeRO: an fp32 master and two moments
_MOST_REASONS: Final = 3
_GENERATION: Final = "generation_state_{}.pt"  # of one process, by its rank


class Board(TensorBoardCallback):  # type: ignore[misc]  # not in the environment of mypy
    """TensorBoard that survives a full disk, in one folder for a run and its resumptions."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logging_dir = str(folder)
        self._repeats_from: int | None = None

    def _init_summary_writer(self, _: Any) -> None:
        self.tb_writer = self._SummaryWriter(
            log_dir=self.logging_dir, purge_step=self._repeats_from
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Open the writer; TensorBoard drops events of steps that a resumed run repeats."""
        self._repeats_from = state.global_step + 1 if state.global_step else None
        with self._replacing_writer():
            super().on_train_begin(args, state, control, **rest)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **rest: Any
    ) -> None:
        with self._replacing_writer():
            super().on_log(args, state, control, logs=select_finite(logs), **rest)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        with self._replacing_writer():
            super().on_train_end(args, state, control, **rest)

    @contextmanager
    def _replacing_writer(self) -> Iterator[None]:
        with outlive_full_disk("TensorBoard", _log) as writing:
            yield
        if writing.failed:
            # The writer's thread ends with its first failed write, and every later call raises that
            # error. transformers opens a new writer at the next log.
            self.tb_writer = None
            self._repeats_from = None


class RefinerTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is not in the environment of mypy
    """GRPOTrainer whose checkpoints are complete and have all that an exact resume needs.

    Exact means: with the same processes, devices and versions, and a policy that samples in the
    trainer's processes (transformers, or vLLM colocated). A vLLM server has its own random state.

    Args:
        card: Written wherever the model is saved, in place of TRL's own card.
        max_failed_share: Share of a step's rollouts without a reward, in [0, 1], above which the
            run stops with `JudgementsMissing` before it learns from the step.
    """

    def __init__(
        self,
        *rest: Any,
        keeper: CheckpointKeeper,
        card: ModelCard,
        watch: RunWatch,
        reward: CitemarkReward,
        max_failed_share: float,
        **named: Any,
    ) -> None:
        super().__init__(*rest, reward_funcs=reward, **named)
        # Neither the best model nor a moving reference model survives a resume here.
        if self.args.load_best_model_at_end or self.args.sync_ref_model:
            raise ValueError("load_best_model_at_end and sync_ref_model are not supported")
        self._keeper = keeper
        self._card = card
        self._watch = watch
        self._max_failed_share = max_failed_share
        self._reward = reward
        self._staging: Path | None = None
        self._sampler: RepeatSampler | None = None

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> torch.Tensor:
        """Rewards of all processes, (rollouts, functions); NaN where there is none.

        Adds the column `finish_reason`: `stop`, or `length` where the policy did not end its turn.
        """
        rows = [
            {**row, "finish_reason": "stop" if ids and ids[-1] in self.eos_token_ids else "length"}
            for row, ids in zip(inputs, completion_ids_list, strict=True)
        ]
        rewards: torch.Tensor = super()._calculate_rewards(
            rows, prompts, completions, completion_ids_list
        )
        # The rewards are gathered already, so every process decides the same.
        failed = int(torch.isnan(rewards).all(dim=1).sum())
        if failed <= self._max_failed_share * len(rewards):
            return rewards
        most = self._reward.failures.most_common(_MOST_REASONS)
        reasons = "; ".join(f"{count} x {reason}" for reason, count in most)
        raise JudgementsMissing(
            f"after {self.state.global_step} steps {failed} of {len(rewards)} rollouts have no "
            f"reward, more than --max_failed_share {self._max_failed_share:g} allows"
            f" ({reasons or 'on other processes'}). Nothing was learnt from them. Mend the "
            "judge; the same command with --resume auto goes on from the last checkpoint."
        )

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        # A collective, which every process must call, in evaluations too.
        seen = gather_object(list(self._reward.judged))
        if self.model.training and self.accelerator.is_main_process:
            self._watch.add_generation(seen)
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As GRPOTrainer's, with the metrics of watch and keeper; survives a full disk."""
        # transformers also logs evaluations and a summary at the end, without a loss.
        is_step = self.accelerator.is_main_process and "loss" in logs
        if is_step:
            logs.update({**self._watch.metrics(), **self._keeper.signals})
        with outlive_full_disk("the logs", _log):
            super().log(logs, start_time)
        if is_step:
            self._watch.write_step(self.state.global_step, logs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        def write_full(built: Path) -> None:
            self._staging = built.parent
            try:
                super(RefinerTrainer, self)._save_checkpoint(model, trial)
                self._save_generation(built)
            finally:
                self._staging = None

        def write_weights(built: Path) -> None:
            self.save_model(str(built), _internal_call=True)

        writers: dict[Contents, Writer] = {
            Contents.FULL: write_full,
            Contents.WEIGHTS: write_weights,
        }
        self._keeper.save(self.state.global_step, writers, self._estimate_bytes())

    def _estimate_bytes(self) -> dict[Contents, int]:
        """Bytes of a checkpoint by kind, from the tensors in memory."""
        parameters = list(self.model.parameters())
        weights = sum(_count_elements(p) * p.element_size() for p in parameters) + _REST_BYTES
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            trained = sum(_count_elements(p) for p in parameters if p.requires_grad)
            return {
                Contents.WEIGHTS: weights,
                Contents.FULL: weights + trained * _ZERO_STATE_BYTES,
            }
        states = self.optimizer.state_dict()["state"].values()
        tensors = (value for state in states for value in state.values())
        moments = sum(t.numel() * t.element_size() for t in tensors if hasattr(t, "numel"))
        return {Contents.WEIGHTS: weights, Contents.FULL: weights + moments}

    def _get_output_dir(self, trial: Any) -> str:
        """The parent of `checkpoint-N`: staging, while one is built."""
        if self._staging is not None:
            return str(self._staging)
        return str(super()._get_output_dir(trial))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            self._card.write(folder, step=self.state.global_step)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """No card of TRL's in the run's folder; ours is in every checkpoint's."""

    def _init_training_state(self, *rest: Any) -> tuple[int, int]:
        trained: tuple[int, int] = super()._init_training_state(*rest)
        if self.accelerator.is_main_process:
            self._watch.begin(self.state.global_step)
        return trained

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _run_epoch(self, *, epoch: int, **rest: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # transformers checks after a step: resuming a finished run would do one more.
            self.control.should_training_stop = True
            return
        # TRL draws one permutation an epoch from a generator that no checkpoint has: a run resumed
        # in its second epoch would repeat the order of the first.
        sampler = self._sampler
        if sampler is not None and sampler.shuffle:
            sampler.generator.manual_seed(sampler.seed)
            for _ in range(epoch):  # draw the permutations of the epochs before
                next(iter(sampler), None)
        super()._run_epoch(epoch=epoch, **rest)

    def _save_generation(self, folder: Path) -> None:
        """Write this process's half-used rollouts into a checkpoint.

        TRL generates once for `steps_per_generation × num_iterations` micro-batches and keeps the
        rest in memory; transformers does not save it. Resumed in between, TRL would generate anew,
        from other weights, and every later draw would differ.
        """
        every = self.args.steps_per_generation * self.num_iterations
        state = {
            "micro_batches": self._step,
            "generation": self._buffered_inputs if self._step % every else None,
            "metrics": {name: list(values) for name, values in self._metrics["train"].items()},
            "tokens": self._total_train_tokens,
        }
        torch.save(state, folder / _GENERATION.format(self.args.process_index))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / _GENERATION.format(self.args.process_index)
        # weights_only: unpickling must not run code that a checkpoint brings.
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self._step = state["micro_batches"]
        self._buffered_inputs = state["generation"]
        self._metrics["train"] = defaultdict(list, state["metrics"])
        self._total_train_tokens = state["tokens"]


def _count_elements(parameter: Any) -> int:
    # ZeRO leaves each process a part of the parameter, and the whole size in `ds_numel`.
    return int(getattr(parameter, "ds_numel", parameter.numel()))
