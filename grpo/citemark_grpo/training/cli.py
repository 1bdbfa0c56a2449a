"""The command line `citemark-grpo`."""

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from citemark_grpo.errors import ScoreError
from citemark_grpo.settings import secret
from citemark_grpo.training.dry_run import flag_lines, report
from citemark_grpo.training.errors import (
    Declined,
    MissingExtra,
    RowsUnusable,
    Stopped,
    TrainingError,
)
from citemark_grpo.training.flags import Flag, Machine
from citemark_grpo.training.plan import FLAGS, Plan, outcomes_of, plan_of
from citemark_grpo.training.record.journal import lines
from citemark_grpo.training.record.plot import draw
from citemark_grpo.training.recording import JOURNAL, PLOT
from citemark_grpo.training.rows import shortfall
from citemark_grpo.training.stopping import signal_of, terminable

EXIT_CODES: Final[Mapping[type[Exception], int]] = {Declined: 2, RowsUnusable: 2, MissingExtra: 2}
"""2 where the command was wrong, 1 where the run failed; a signal's own where one ended it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train a research refiner with GRPO against Citemark."""


def option_of(flag: Flag) -> click.Option:
    """A flag of the table as click takes it; unset it is absent, so that the table's default holds.

    A boolean may stand alone or be followed by true or false, as in the published command.
    """
    shown = "" if flag.default is None else f"  [{_spelt(flag.default)}]"
    attributes: dict[str, Any] = {"default": None, "help": flag.effect + shown}
    if flag.kind is bool:
        attributes |= {"is_flag": False, "flag_value": "true", "type": bool}
    elif flag.choices:
        attributes["type"] = click.Choice(flag.choices)
    else:
        attributes["type"] = flag.kind
    return click.Option([f"--{flag.name}"], **attributes)


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def train(**flags: Any) -> None:
    """Train the policy; with --dry_run print what would be done, and do nothing.

    Flags have the published run's names. One that this trainer cannot honour is refused.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if url := secret("CITEMARK_URL"):
        given.setdefault("reward_url", url)
    try:
        with terminable():
            _trained(given)
    except KeyboardInterrupt as interrupt:
        _fail(Stopped(signal_of(interrupt), "before training began"))
    except (TrainingError, ScoreError) as error:
        _fail(error)


def _trained(given: dict[str, Any]) -> None:
    # Here and not above: torch takes seconds to import, and --help needs none of it.
    from citemark_grpo.training import session  # noqa: PLC0415
    from citemark_grpo.training.assemble import (  # noqa: PLC0415
        lacking,
        library_defaults,
        resolved,
    )
    from citemark_grpo.training.machine import this_machine  # noqa: PLC0415

    plan = _plan(given, this_machine())
    if plan.course.dry_run:
        prepared = session.gather(plan).prepared
        _echo(report(plan, prepared, resolved(plan), library_defaults(), lacking(plan)))
        if (missing := shortfall(len(prepared.rows), plan.batch)) is not None:
            raise RowsUnusable(missing)
    else:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("citemark_grpo").setLevel(logging.INFO)
        session.run(plan, say=click.echo)


def _plan(given: dict[str, Any], machine: Machine) -> Plan:
    """The plan; where flags are refused in a dry run, with all flags on the screen."""
    try:
        return plan_of(given, machine)
    except Declined:
        if given.get("dry_run"):
            _echo(flag_lines(outcomes_of(given, machine)))
        raise


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _fail(error: Exception) -> NoReturn:
    click.echo(f"citemark-grpo: {error}", err=True)
    sys.exit(error.status if isinstance(error, Stopped) else EXIT_CODES.get(type(error), 1))


main.add_command(
    click.Command(
        "train",
        callback=train,
        params=[option_of(flag) for flag in FLAGS],
        help=train.__doc__,
        short_help="Train the policy.",
    )
)


@main.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The picture; rewards.png in the run's folder where none is named.",
)
def plot(run: Path, output: Path | None) -> None:
    """Draw the rewards of RUN, a run's output folder, as PNG."""
    picture = output or run / PLOT
    try:
        written = list(lines(run / JOURNAL))
    except FileNotFoundError as error:
        _fail(RowsUnusable(f"{run} has no {JOURNAL}: no step of this run has ended ({error})"))
    try:
        draw(written, picture, title=run.resolve().name)
    except OSError as error:
        _fail(RowsUnusable(f"{picture} cannot be written: {error}"))
    except ImportError as error:
        _fail(MissingExtra(f"{error}; the extra train brings it"))
    click.echo(f"{picture}: {len(written)} steps")
