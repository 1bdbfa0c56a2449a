"""`citemark export`: kept rollouts as JSON lines or a Parquet table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from citemark_service.cli.kept import place_options, reading, some
from citemark_service.cli.printable import plain
from citemark_service.cli.progress import Progress
from citemark_service.cli.wording import counted
from citemark_service.ledger.flat import FLAGS, INTEGERS, NUMBERS, TEXTS, WHOLE, flat
from citemark_service.ledger.reading import KeptRollout, Place
from citemark_service.trainers.files import PARQUET, suffix_of, writing
from citemark_service.trainers.shapes import Kind, Shape

_COLUMNS: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(TEXTS, Kind.TEXT),
    **dict.fromkeys(NUMBERS, Kind.NUMBER),
    **dict.fromkeys(INTEGERS, Kind.INTEGER),
    **dict.fromkeys(FLAGS, Kind.FLAG),
    **dict.fromkeys(WHOLE, Kind.TEXT),
}


@click.command("export")
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@place_options
def command(
    *,
    output: Path,
    ledger: str | None,
    run: str | None,
    step: int | None,
    group: str | None,
    since: float | None,
    until: float | None,
) -> None:
    """Write kept rollouts to OUTPUT, JSON lines or Parquet by its ending, in the order of writing.

    One row a rollout: where in training it was, reward, components, versions and cost as plain
    columns, and `rollout` and `result` whole: objects in JSON lines, JSON texts in Parquet.
    `citemark explain` shows rows of such JSON lines. OUTPUT appears when it is complete; what is
    scored meanwhile is not in it.
    """
    as_text = suffix_of(output) == PARQUET
    place, console = Place(run, step, group, since, until), Console(stderr=True)
    with reading(ledger) as reader:
        numbers, rows = some(reader, place, reader.numbers(place)), 0
        with (
            Progress(console, len(numbers), "exporting") as progress,
            writing(output, _COLUMNS) as write,
        ):
            for kept in reader.whole(numbers):
                write({**flat(kept), **_whole(kept, as_text=as_text)})
                progress.advance()
                rows += 1
    console.print(plain(f"{counted(rows, 'rollout')} in {output}"), soft_wrap=True)


def _whole(kept: KeptRollout, *, as_text: bool) -> dict[str, Any]:
    rollout, result = kept.rollout, kept.result
    if as_text:
        text = rollout.model_dump_json(exclude_unset=True)
        return {"rollout": text, "result": result.model_dump_json()}
    values = rollout.model_dump(mode="json", exclude_unset=True)
    return {"rollout": values, "result": result.model_dump(mode="json")}
