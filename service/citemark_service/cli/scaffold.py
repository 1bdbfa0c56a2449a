"""`citemark scaffold`: the files by which a framework finds the service, where a URL is no way."""

import json
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import click

from citemark_service.cli.options import service_url
from citemark_service.cli.terminal import count_noun
from citemark_service.examples import example

_TEMPLATE = ".j2"
_URL = "{{ url }}"
_GYM_FOLDER = Path("resources_servers", "citemark")


@click.group("scaffold")
def command() -> None:
    """Write the files by which a framework finds the service."""


@command.command("nemo-gym")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--url",
    callback=service_url,
    default="http://127.0.0.1:8000",
    show_default=True,
    help="Where the service runs; CITEMARK_URL wins over it.",
)
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
def nemo_gym(folder: Path, url: str, *, force: bool) -> None:
    """Make the service a resources server of NeMo Gym, below FOLDER.

    FOLDER is a checkout of Gym, or the folder that you start it in. What is written into
    resources_servers/citemark there passes every /verify on to the service.
    """
    template = resources.files("citemark_service.scaffolds") / "nemo_gym"
    files = {**_filled(template, url), Path("data", "example.jsonl"): _gym_row()}
    written = _write(folder / _GYM_FOLDER, files, force=force)
    click.echo(f"{count_noun(len(written), 'file')} written to {folder / _GYM_FOLDER}")


def _filled(template: Traversable, url: str, folder: Path = Path()) -> dict[Path, str]:
    """Every template below the folder with its URL filled in, by the path that it is for."""
    files: dict[Path, str] = {}
    for each in template.iterdir():
        place = folder / each.name
        if each.is_dir():
            files.update(_filled(each, url, place))
        elif place.suffix == _TEMPLATE:
            files[place.with_suffix("")] = each.read_text(encoding="utf-8").replace(_URL, url)
    return files


def _gym_row() -> str:
    """The worked example as a row of a data set."""
    row: dict[str, Any] = dict(example("rollout"))
    question = {"role": "user", "content": row.pop("question")}
    del row["response"]
    whole = {"responses_create_params": {"input": [question]}, **row}
    return json.dumps(whole, ensure_ascii=False) + "\n"


def _write(folder: Path, files: Mapping[Path, str], *, force: bool) -> list[Path]:
    """Write what is not there as it should be; all of it or, where that would overwrite, nothing.

    Raises:
        click.UsageError: a file is there with other content, or cannot be written.
    """
    try:
        pending = {folder / place: text for place, text in files.items()}
        pending = {path: text for path, text in pending.items() if _differs(path, text)}
        taken = sorted(str(path) for path in pending if path.exists())
        if taken and not force:
            raise click.UsageError(f"{taken[0]} is there already and differs; --force overwrites")
        for path, text in pending.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return list(pending)


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_bytes() != text.encode()
