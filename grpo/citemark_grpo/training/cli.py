"""The command line `citemark-grpo`."""

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from citemark_grpo.errors import ScoreError
from citemark_grpo.settings import secret
from citemark_grpo.training.dry_run import report_flags, report_plan
from citemark_grpo.training.errors import (
    Declined,
    MissingExtra,
    RowsUnusable,
    Stopped,
    Terminated,
    TrainingError,
)
from citemark_grpo.training.flags import Flag
from citemark_grpo.training.journal import JOURNAL, PLOT, draw_rewards, read_lines
from citemark_grpo.training.plan import FLAGS, plan_run, resolve_flags


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train a research refiner with GRPO against Citemark."""


def to_option(flag: Flag) -> click.Option:
    """A flag of the table as click takes it; unset it is None, and the table's default holds."""
    default = str(flag.default).lower() if flag.kind is bool else flag.default
    shown = "" if default is None else f"  [{default}]"
    attributes: dict[str, Any] = {"default": None, "help": flag.effect + shown}
    if flag.kind is bool:
        # Alone or followed by true or false, as in the published command.
        attributes |= {"is_flag": False, "flag_value": "true", "type": bool}
    else:
        attributes["type"] = click.Choice(flag.choices) if flag.choices else flag.kind
    return click.Option([f"--{flag.name}"], **attributes)


def train(**flags: Any) -> None:
    """Train the policy; with --dry_run print what would be done, and do nothing.

    Flags have the published run's names. One that this trainer cannot honour is refused.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if url := secret("CITEMARK_URL"):
        given.setdefault("reward_url", url)
    try:
        with _terminable():
            _plan_and_train(given)
    except KeyboardInterrupt as interrupt:
        _fail(Stopped(interrupt, "before training began"))
    except (TrainingError, ScoreError) as error:
        _fail(error)


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM within the block; for the main thread only."""

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan_and_train(given: dict[str, Any]) -> None:
    # torch takes seconds to import, and --help does not need it.
    from citemark_grpo.training import config, session  # noqa: PLC0415

    machine = config.this_machine()
    try:
        plan = plan_run(given, machine)
    except Declined:
        if given.get("dry_run"):
            _echo(report_flags(resolve_flags(given, machine)))
        raise
    if not plan.dry_run:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("citemark_grpo").setLevel(logging.INFO)
        session.run_training(plan, say=click.echo)
        return
    _, prepared = session.prepare_rows(plan)
    resolved, defaults = config.resolve_config(plan), config.library_defaults()
    _echo(report_plan(plan, prepared, resolved, defaults, config.list_lacking(plan)))
    if (refusal := plan.batch.reject_rows(len(prepared.rows))) is not None:
        raise RowsUnusable(refusal)


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _fail(error: TrainingError | ScoreError) -> NoReturn:
    click.echo(f"citemark-grpo: {error}", err=True)
    sys.exit(error.status if isinstance(error, TrainingError) else 1)


main.add_command(
    click.Command(
        "train",
        callback=train,
        params=[to_option(flag) for flag in FLAGS],
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
        lines = list(read_lines(run / JOURNAL))
    except FileNotFoundError as error:
        _fail(RowsUnusable(f"{run} has no {JOURNAL}: no step of this run has ended ({error})"))
    try:
        draw_rewards(lines, picture, title=run.resolve().name)
    except OSError as error:
        _fail(RowsUnusable(f"{picture} cannot be written: {error}"))
    except ImportError as error:
        _fail(MissingExtra(f"{error}; the extra train brings it"))
    click.echo(f"{picture}: {len(lines)} steps")
