"""`citemark scaffold`: files for frameworks that need more than the service's URL."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import click

from citemark_service.cli.options import service_url
from citemark_service.cli.terminal import count_noun
from citemark_service.examples import example

_TEMPLATES = resources.files("citemark_service.scaffolds") / "nemo_gym"


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
    folder /= "resources_servers/citemark"
    files: dict[Path, str] = {}
    with resources.as_file(_TEMPLATES) as templates:
        for each in templates.rglob("*.j2"):
            path = folder / each.relative_to(templates).with_suffix("")
            files[path] = each.read_text(encoding="utf-8").replace("{{ url }}", url)
    files[folder / "data" / "example.jsonl"] = json.dumps(row, ensure_ascii=False) + "\n"
    try:
        pending = {
            path: text
            for path, text in files.items()
            if not path.exists() or path.read_bytes() != text.encode()
        }
        # Checked before anything is written.
        taken = sorted(str(path) for path in pending if path.exists())
        if taken and not force:
            raise click.UsageError(f"{taken[0]} is there already and differs; --force overwrites")
        for path, text in pending.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    click.echo(f"{count_noun(len(pending), 'file')} written to {folder}")
