"""TensorBoard that outlives a full disk and forgets the steps that a resumed run repeats.

TensorBoard's writer works in a thread that ends with its first failed write; from then on every
call raises that error. So the writer is given up then, and a new one opened at the next log.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from transformers.integrations import TensorBoardCallback

from citemark_grpo.training.disk import outlive_full_disk
from citemark_grpo.training.journal import select_finite

_log: Final = logging.getLogger(__name__)


class Board(TensorBoardCallback):  # type: ignore[misc]  # not in the environment of mypy
    """In place of transformers' callback, always in the same folder so that a curve stays one."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logging_dir = str(folder)
        self._repeats_from: int | None = None

    def _init_summary_writer(self, _: Any) -> None:
        self.tb_writer = self._SummaryWriter(
            log_dir=self.logging_dir, purge_step=self._repeats_from
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Open the writer; events after the step that the run resumes at no longer count."""
        self._repeats_from = state.global_step + 1 if state.global_step else None
        with self._replacing_writer():
            super().on_train_begin(args, state, control, **rest)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **rest: Any
    ) -> None:
        """Write the finite numbers."""
        with self._replacing_writer():
            super().on_log(args, state, control, logs=select_finite(logs), **rest)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Close the writer."""
        with self._replacing_writer():
            super().on_train_end(args, state, control, **rest)

    @contextmanager
    def _replacing_writer(self) -> Iterator[None]:
        with outlive_full_disk("TensorBoard", _log) as writing:
            yield
        if writing.failed:
            self.tb_writer = None
            self._repeats_from = None
