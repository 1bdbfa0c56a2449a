"""Flags that say which kept rollouts, and how they are found."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from citemark_service.cli.options import setting_option
from citemark_service.errors import DataError
from citemark_service.ledger.factory import ledger_reader
from citemark_service.ledger.reading import LedgerReader, Numbers, Place
from citemark_service.printable import join_names
from citemark_service.settings import load_settings

Command = TypeVar("Command", bound=Callable[..., object])

_RUNS: Final = 20


class Moment(click.ParamType[float]):
    """A date or time in ISO 8601, in UTC where it names no zone, as Unix time."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it; a number is Unix time already."""
        if isinstance(value, float):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date or time such as 2026-01-31T18:00", param, ctx)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


_PLACE_OPTIONS = (
    setting_option("ledger", "Where the rollouts are.", metavar="URL"),
    click.option("--run", help="Only this run."),
    click.option("--step", type=int, help="Only this step."),
    click.option("--group", help="Only this group."),
    click.option("--since", type=Moment(), help="Only from then on, as 2026-01-31 or with a time."),
    click.option("--until", type=Moment(), help="Only before then."),
)


def place_options(command: Command) -> Command:
    """Add the flags that name a ledger and a place in it."""
    for option in reversed(_PLACE_OPTIONS):
        command = option(command)
    return command


@contextmanager
def reading(ledger: str | None) -> Iterator[LedgerReader]:
    """A reader of the ledger that the flag or the environment names.

    Raises:
        click.UsageError: it is off.
        SettingsError: there is none at that address.
    """
    address = ledger or load_settings().ledger
    if address == "off":
        raise click.UsageError("the ledger is off; name one with --ledger")
    with closing(ledger_reader(address)) as reader:
        yield reader


def some(reader: LedgerReader, place: Place, numbers: Numbers) -> Numbers:
    """The same numbers, of which there must be one."""
    if not numbers:
        raise none_kept(reader, place)
    return numbers


def none_kept(reader: LedgerReader, place: Place) -> DataError:
    """The error for a place without rollouts; it says which steps or runs there are."""
    span = None if place.run is None else reader.kept_steps(place.run)
    there = _told_runs(reader) if span is None else _told_steps(str(place.run), *span)
    return DataError(f"no rollout is kept there; {there}")


def _told_steps(run: str, low: int, high: int) -> str:
    steps = f"step {low}" if low == high else f"steps {low} to {high}"
    return f"the run {run} has {steps}"


def _told_runs(reader: LedgerReader) -> str:
    names = [str(row["run"]) or "(unnamed)" for row in reader.runs()]
    return f"the ledger's runs: {join_names(names, _RUNS) or 'none'}"
