"""Rows that bring no rubric of their own, which nothing in their rewards would tell."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from citemark_schemas import Rollout
from citemark_service.web.dialects.dialect import Dialect

_RUNS_KEPT: Final = 256

_log = logging.getLogger("citemark.dialects")


class StaticOnly:
    """Warns of rollouts that the static set alone judges, once a run and dialect.

    That is a legitimate wish, and far more often a label column that the trainer was not told of.
    """

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str | None], None] = OrderedDict()

    def note(self, dialect: Dialect, rollouts: Sequence[Rollout], run: str | None) -> None:
        """Look at the rollouts of one request; `run` is that of those that name none."""
        bare = [rollout for rollout in rollouts if not rollout.criteria]
        if not bare:
            return
        named = bare[0].run or run
        if self._is_news((dialect.name, named)):
            _log.warning(
                "%s: %d of %d rollouts%s bring no rubrics, so that the static set alone judges "
                "them; `citemark doctor --trainer` names such rows (said once a run)",
                dialect.path,
                len(bare),
                len(rollouts),
                "" if named is None else f" of run {named!r}",
            )

    def _is_news(self, told: tuple[str, str | None]) -> bool:
        news = told not in self._told
        self._told[told] = None
        if len(self._told) > _RUNS_KEPT:
            self._told.popitem(last=False)
        return news
