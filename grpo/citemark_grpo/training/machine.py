"""What the plan must know of this machine."""

import torch
from accelerate.utils import get_int_from_env

from citemark_grpo.training.flags import Machine


def this_machine() -> Machine:
    """The processes that the launcher started, 1 without one, and whether there is a GPU.

    Nothing is initialised: a process group would take its timeout before the plan can set it.
    """
    processes = get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"], 1)
    return Machine(world_size=processes, cuda=torch.cuda.is_available())
