"""GRPOTrainer that keeps whole checkpoints, outlives a full disk and resumes exactly."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from citemark_grpo.training.survival import generation
from citemark_grpo.training.survival.folders import Kind
from citemark_grpo.training.survival.keeper import Keeper, Writer
from citemark_grpo.training.survival.storage import Outlived

_log: Final = logging.getLogger(__name__)
_REST: Final = 4 * 1024 * 1024  # tokenizer, random states, trainer state
_ZERO_STATE: Final = 12  # bytes a parameter under ZeRO: an fp32 master and two moments


class Card(Protocol):
    """Writes the model card into a folder that holds the model."""

    def __call__(self, folder: Path, *, step: int) -> None:
        """`step` is how many optimizer steps the model has seen."""


class Watch(Protocol):
    """Sees what was judged and what is logged; all but `drained` in the leading process alone."""

    def begun(self, step: int) -> None:
        """Training begins, or resumes, with `step` steps done."""

    def drained(self) -> list[Any]:
        """What this process has seen since the last call; it can be pickled."""

    def generated(self, seen: Sequence[Any]) -> None:
        """What all processes have seen of one generation."""

    def metrics(self) -> Mapping[str, float]:
        """Metrics to log with this step."""

    def logged(self, step: int, logs: Mapping[str, Any]) -> None:
        """What was logged after `step` steps, in the end."""


class EpochSampler(RepeatSampler):  # type: ignore[misc]  # TRL is not in the environment of mypy
    """TRL's sampler, which can begin at any epoch with the order that this epoch has.

    TRL draws one permutation an epoch from a generator that no checkpoint keeps, so that a run
    resumed in its second epoch would see the order of the first.
    """

    @classmethod
    def like(cls, other: RepeatSampler) -> "EpochSampler":
        """One that yields what `other` would."""
        return cls(
            other.data_source,
            mini_repeat_count=other.mini_repeat_count,
            batch_size=other.batch_size,
            repeat_count=other.repeat_count,
            shuffle=other.shuffle,
            seed=other.seed,
        )

    def start_epoch(self, epoch: int) -> None:
        """Make the next iteration the one of this epoch, counted from 0."""
        if not self.shuffle:
            return
        self.generator.manual_seed(self.seed)
        for _ in range(epoch):
            next(iter(self), None)


class SurvivingTrainer(GRPOTrainer):  # type: ignore[misc]  # TRL is not in the environment of mypy
    """GRPOTrainer whose checkpoints are whole, fit, and hold all that an exact resume needs.

    Exact means: with the same processes, devices and versions, and a policy that samples in the
    trainer's processes (transformers, or vLLM colocated). A vLLM server keeps its own random state.

    Args:
        keeper: The keeper of this run's checkpoints; it rotates them too.
        card: Called wherever the model is saved, in place of TRL's own card.
        watch: Told of every generation and asked for metrics at every log.
        rest: As GRPOTrainer's.

    Raises:
        ValueError: the arguments ask for the best model at the end or a reference model that
            moves; neither survives a resume here.
    """

    def __init__(self, *rest: Any, keeper: Keeper, card: Card, watch: Watch, **named: Any) -> None:
        super().__init__(*rest, **named)
        if self.args.load_best_model_at_end or self.args.sync_ref_model:
            raise ValueError("load_best_model_at_end and sync_ref_model are not supported")
        self._keeper = keeper
        self._card = card
        self._watch = watch
        self._staging: Path | None = None
        self._sampler: EpochSampler | None = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        def full(built: Path) -> None:
            self._staging = built.parent
            try:
                super(SurvivingTrainer, self)._save_checkpoint(model, trial)
                generation.save(self, built)
            finally:
                self._staging = None

        def weights(built: Path) -> None:
            self.save_model(str(built), _internal_call=True)

        writers: dict[Kind, Writer] = {Kind.FULL: full, Kind.WEIGHTS: weights}
        self._keeper.save(self.state.global_step, writers, self._estimates())

    def _estimates(self) -> dict[Kind, int]:
        """Bytes of a checkpoint by kind, from what is in memory."""
        weights = sum(_elements(p) * p.element_size() for p in self.model.parameters()) + _REST
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            trained = sum(_elements(p) for p in self.model.parameters() if p.requires_grad)
            return {Kind.WEIGHTS: weights, Kind.FULL: weights + trained * _ZERO_STATE}
        states = self.optimizer.state_dict()["state"].values()
        tensors = (value for state in states for value in state.values())
        moments = sum(t.numel() * t.element_size() for t in tensors if hasattr(t, "numel"))
        return {Kind.WEIGHTS: weights, Kind.FULL: weights + moments}

    def _get_output_dir(self, trial: Any) -> str:
        """The folder that transformers puts `checkpoint-N` into: staging, while one is built."""
        if self._staging is not None:
            return str(self._staging)
        return str(super()._get_output_dir(trial))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self._card(Path(output_dir or self.args.output_dir), step=self.state.global_step)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: TRL's card would stand in the run's folder; ours is in every checkpoint's."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            generation.restore(self, Path(checkpoint))

    def _init_training_state(self, *rest: Any) -> tuple[int, int]:
        trained: tuple[int, int] = super()._init_training_state(*rest)
        if self.accelerator.is_main_process:
            self._watch.begun(self.state.global_step)
        return trained

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        self._sampler = EpochSampler.like(super()._get_train_sampler(dataset))
        return self._sampler

    def _run_epoch(self, *, epoch: int, **rest: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # transformers asks after a step: a finished run that is resumed would do one more.
            self.control.should_training_stop = True
            return
        if self._sampler is not None:
            self._sampler.start_epoch(epoch)
        super()._run_epoch(epoch=epoch, **rest)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        seen = gather_object(self._watch.drained())
        if self.model.training and self.accelerator.is_main_process:
            self._watch.generated(seen)
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As GRPOTrainer's, with the watch's and the keeper's metrics; a full disk ends nothing."""
        ours = self.accelerator.is_main_process and "loss" in logs
        if ours:
            logs.update({**self._watch.metrics(), **self._keeper.signals})
        with Outlived("the logs", _log):
            super().log(logs, start_time)
        if ours:
            self._watch.logged(self.state.global_step, logs)


def _elements(parameter: Any) -> int:
    """Of the whole parameter, also where ZeRO left this process a part of it."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
