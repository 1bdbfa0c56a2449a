"""`citemark judge`: vLLM as the judge, with the recommended flags."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import click
from rich.table import Table

from citemark_service.cli.terminal import plain, show
from citemark_service.cli.vllm import (
    DEFAULT_MODEL,
    DEFAULT_PORT,
    Serving,
    obstacles,
    serve_arguments,
    serve_flags,
)

_DEVICES = Path("/dev")
_ACCELERATORS = ("nvidia[0-9]*", "kfd", "dxg", "accel*")  # NVIDIA, AMD, WSL, others


class CannotRun(click.ClickException):
    """vLLM cannot be started here; the message says what is missing, a line each."""

    exit_code = 2


def _parse_retention(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "all":
        return None
    if not (value.isascii() and value.isdigit()):
        message = f"{value!r} is neither a number of tokens nor 'all'"
        raise click.BadParameter(message, ctx, parameter)
    return int(value)


@click.command("judge")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or folder.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, metavar="N"
)
@click.option(
    "--retention",
    callback=_parse_retention,
    default="all",
    show_default=True,
    metavar="TOKENS",
    help="Between kept states of a hybrid model: a multiple of its block size; 0 is the last one.",
)
@click.option("--any-device", is_flag=True, help="Start where no GPU is seen, too.")
@click.option("--dry-run", is_flag=True, help="Print the command only.")
@click.option("--why", is_flag=True, help="Print what each flag is for.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED)
def command(
    *,
    model: str,
    host: str,
    port: int,
    retention: int | None,
    any_device: bool,
    dry_run: bool,
    why: bool,
    extra: tuple[str, ...],
) -> None:
    """Start vLLM with the flags that this service wants. What follows `--` goes to vLLM.

    The command is printed, then this process becomes it: signals and exit status are vLLM's.
    Exit status 2 where it cannot run, with what is missing.
    """
    serving = Serving(model=model, host=host, port=port, retention=retention, extra=extra)
    if why:
        table = Table("flag", "why", box=None, padding=(0, 2, 0, 0))
        for flag in serve_flags(serving):
            table.add_row(plain(shlex.join([flag.name, *flag.values])), plain(flag.why))
        show(table)
        return
    beside = Path(sys.executable).with_name("vllm")
    launcher = str(beside) if beside.is_file() else shutil.which("vllm")
    arguments = [launcher or "vllm", "serve", *serve_arguments(serving)]
    click.echo(shlex.join(arguments))
    if dry_run:
        return
    accelerator = any_device or accelerator_seen(_DEVICES)
    if found := obstacles(serving, launcher=launcher, accelerator=accelerator):
        raise CannotRun("\n".join(found))
    judge = ["--judge", "vllm", "--judge-url", serving.base_url, "--judge-model", serving.model]
    click.echo(f"once it is up: {shlex.join(['citemark', 'serve', *judge])}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted between us and vLLM
    except OSError as error:
        raise CannotRun(f"cannot start {arguments[0]}: {error.strerror}") from error


def accelerator_seen(devices: Path) -> bool:
    """Whether a folder of device files shows a GPU or the like."""
    return any(True for pattern in _ACCELERATORS for _ in devices.glob(pattern))
