"""A session of training, as a program that can be killed and whose disk can fill up.

Unlike the command it takes settings of TRL that no flag reaches, and does not save the policy:

    python tiny_run.py '{"flags": {…}, "trainer": {…}, "hopeful": true}'
"""

import json
import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from citemark_grpo.training import session
from citemark_grpo.training.config import this_machine
from citemark_grpo.training.disk import Room, free_bytes
from citemark_grpo.training.keeper import CheckpointKeeper
from citemark_grpo.training.plan import plan_run


def never_refuse(folder: Path, size: int) -> Room:
    """A check of the room as where the disk fills up after it."""
    return Room(fits=True, free=free_bytes(folder), source="statvfs")


def main(*, flags: dict[str, Any], trainer: dict[str, Any], hopeful: bool) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if hopeful:
        keeper = partial(CheckpointKeeper, room=never_refuse)
        mock.patch.object(session, "CheckpointKeeper", keeper).start()
    plan = plan_run(flags, this_machine())
    plan = replace(plan, trainer={**plan.trainer, **trainer})
    running = session.build_trainer(plan, *session.prepare_rows(plan))
    running.train(resume_from_checkpoint=session.find_start(plan))
    sys.stdout.write(f"ended at {running.state.global_step}\n")


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
