"""From rows of one layout to rows of another, one at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from citemark_schemas.envelope import EnvelopeError
from citemark_service.errors import DataError
from citemark_service.trainers.carrying import FIELDS
from citemark_service.trainers.files import Numbered, RowWriter
from citemark_service.trainers.prompts import PromptTemplate
from citemark_service.trainers.tasks import PLACES, PROMPTS, task_of
from citemark_service.trainers.trainer import Row, Trainer

_MOST_COLUMNS: Final = 50
_CARRIERS: Final = {path[0] for path in (*PLACES, *PROMPTS)} - {"metadata"}
_READ: Final = frozenset({*FIELDS, *_CARRIERS, "query", "documents", "knobs", "reasoning"})


class BadRow(DataError):
    """A row that cannot be converted; the message names it, the place in it and what is wrong."""


@dataclass
class Tally:
    """How many rows ended how."""

    converted: int = 0
    skipped: int = 0
    left: dict[str, None] = field(default_factory=dict)
    """Columns of the input that no rollout and no prompt has, and that the output lacks."""


class Conversion:
    """Turns rows into those of one trainer.

    Args:
        source: whose layout the rows have; None to look everywhere in each.
        target: whose layout they get.
        template: makes prompts where there are none.
    """

    def __init__(self, source: Trainer | None, target: Trainer, template: PromptTemplate) -> None:
        self._source = source
        self._target = target
        self._template = template
        self.tally = Tally()

    def over(self, rows: Iterable[Numbered], writer: RowWriter) -> Iterator[BadRow | None]:
        """Convert row by row, yielding after each: None, or why it was left out.

        Who does not go on after a `BadRow` has chosen to stop there.
        """
        for numbered in rows:
            try:
                self._convert(numbered, writer)
            except BadRow as bad:
                self.tally.skipped += 1
                yield bad
            else:
                self.tally.converted += 1
                yield None

    def _convert(self, numbered: Numbered, writer: RowWriter) -> None:
        if numbered.row is None:
            raise BadRow(f"{numbered.place}: {numbered.problem}")
        try:
            task = task_of(numbered.row, self._source, self._template)
            laid = self._target.lay(task, self.tally.converted)
            writer.write(laid)
        except EnvelopeError as error:
            told = "; ".join(f"{each.loc}: {each.message}" for each in error.details)
            raise BadRow(f"{numbered.place}: {told}") from error
        except ValueError as error:
            raise BadRow(f"{numbered.place}: {error}") from error
        self._note_left(numbered.row, laid)

    def _note_left(self, row: Row, laid: Row) -> None:
        if len(self.tally.left) < _MOST_COLUMNS:
            left = (name for name in row if name not in _READ and name not in laid)
            self.tally.left.update(dict.fromkeys(left))
