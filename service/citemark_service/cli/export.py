"""`citemark export`: kept rollouts as JSON lines or a Parquet table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from pydantic import BaseModel
from rich.console import Console

from citemark_service.cli.kept import open_ledger, place_options, require_kept
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.ledger.flat import FLAGS, INTEGERS, NUMBERS, TEXTS, WHOLE, flatten
from citemark_service.ledger.reading import Place
from citemark_service.trainers.files import PARQUET, open_writer, suffix_of
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
def command(*, output: Path, ledger: str | None, place: Place) -> None:
    """Write kept rollouts to OUTPUT, JSON lines or Parquet by its ending, in the order of writing.

    One row a rollout: where in training it was, reward, components, versions and cost as plain
    columns, and `rollout` and `result` whole: objects in JSON lines, JSON texts in Parquet.
    `citemark explain` shows rows of such JSON lines. OUTPUT appears when it is complete; what is
    scored meanwhile is not in it.
    """
    as_text = suffix_of(output) == PARQUET

    def dump(model: BaseModel, **options: Any) -> Any:
        return (
            model.model_dump_json(**options)
            if as_text
            else model.model_dump(mode="json", **options)
        )

    console = Console(stderr=True)
    with open_ledger(ledger) as reader:
        numbers = require_kept(reader, place, reader.numbers(place))
        rows = 0
        with (
            Progress(console, len(numbers), "exporting") as progress,
            open_writer(output, _COLUMNS) as write,
        ):
            for kept in reader.whole(numbers):
                rollout, result = dump(kept.rollout, exclude_unset=True), dump(kept.result)
                write({**flatten(kept), "rollout": rollout, "result": result})
                progress.advance()
                rows += 1
    console.print(plain(f"{count_noun(rows, 'rollout')} in {output}"), soft_wrap=True)
