"""What TRL knows about rollouts half used, saved and restored.

TRL generates once for `steps_per_generation × num_iterations` micro-batches and keeps the rest in
memory. transformers saves neither these nor where in them training is: resumed in between, TRL
would generate anew, from other weights, and every later draw would differ. What is saved here, in
one file a process: the count of micro-batches, the generation while it is still in use, the
metrics gathered since the last log, and the count of tokens seen.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch


def state_file(folder: Path, rank: int) -> Path:
    """Where the state of one process stands."""
    return folder / f"generation_state_{rank}.pt"


def save(trainer: Any, folder: Path) -> None:
    """Write the state of this process's GRPOTrainer into a checkpoint's folder."""
    every = trainer.args.steps_per_generation * trainer.num_iterations
    in_use = trainer._step % every != 0
    state = {
        "micro_batches": trainer._step,
        "generation": trainer._buffered_inputs if in_use else None,
        "metrics": {name: list(values) for name, values in trainer._metrics["train"].items()},
        "tokens": trainer._total_train_tokens,
    }
    torch.save(state, state_file(folder, trainer.args.process_index))


def restore(trainer: Any, folder: Path) -> None:
    """Put the state back into a GRPOTrainer that is about to train on.

    Raises:
        FileNotFoundError: the checkpoint was written without it, or by fewer processes.
    """
    path = state_file(folder, trainer.args.process_index)
    state = torch.load(path, map_location=trainer.accelerator.device, weights_only=True)
    trainer._step = state["micro_batches"]
    trainer._buffered_inputs = state["generation"]
    trainer._metrics["train"] = defaultdict(list, state["metrics"])
    trainer._total_train_tokens = state["tokens"]
