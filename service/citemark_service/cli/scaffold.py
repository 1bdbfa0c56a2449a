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
    row: dict[str, Any] = dict(example("rollout"))
    del row["response"]
    question = {"role": "user", "content": row.pop("question")}
    row = {"responses_create_params": {"input": [question]}, **row}
    files = _fill_templates(resources.files("citemark_service.scaffolds") / "nemo_gym", url)
    files[Path("data", "example.jsonl")] = json.dumps(row, ensure_ascii=False) + "\n"
    written = _write(folder / _GYM_FOLDER, files, force=force)
    click.echo(f"{count_noun(len(written), 'file')} written to {folder / _GYM_FOLDER}")


def _fill_templates(template: Traversable, url: str, folder: Path = Path()) -> dict[Path, str]:
    """Every template below the folder with its URL filled in, by the path that it is for."""
    files: dict[Path, str] = {}
    for each in template.iterdir():
        place = folder / each.name
        if each.is_dir():
            files.update(_fill_templates(each, url, place))
        elif place.suffix == ".j2":
            text = each.read_text(encoding="utf-8")
            files[place.with_suffix("")] = text.replace("{{ url }}", url)
    return files


def _write(folder: Path, files: Mapping[Path, str], *, force: bool) -> list[Path]:
    """Write what is not there as it should be; all of it or, where that would overwrite, nothing.

    Raises:
        click.UsageError: a file is there with other content, or cannot be written.
    """
    try:
        pending = {
            path: text
            for path, text in ((folder / place, text) for place, text in files.items())
            if not path.exists() or path.read_bytes() != text.encode()
        }
        taken = sorted(str(path) for path in pending if path.exists())
        if taken and not force:
            raise click.UsageError(f"{taken[0]} is there already and differs; --force overwrites")
        for path, text in pending.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return list(pending)
