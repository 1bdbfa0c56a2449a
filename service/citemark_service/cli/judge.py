"""`citemark judge`: vLLM as the judge, with recommended flags and the reason for each.

Sources: vLLM's documentation of its engine arguments, its code in 0.32, and runs of it on a CPU.
"""

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table

from citemark_service.cli.terminal import plain, show

DEFAULT_MODEL: Final = "Qwen/Qwen3.5-35B-A3B-FP8"
# For weights and a working cache, by vLLM's recipe for this model.
GPU_MEMORY_GB: Final = {"Qwen/Qwen3.5-35B-A3B-FP8": 42, "Qwen/Qwen3.5-35B-A3B": 84}
# Families that mix attention with recurrent layers.
_HYBRID: Final = re.compile(r"qwen-?3(\.[5-9]|-?next)", re.IGNORECASE)
_ACCELERATORS: Final = ("nvidia[0-9]*", "kfd", "dxg", "accel*")  # NVIDIA, AMD, WSL, others


@dataclass(frozen=True, slots=True)
class Serving:
    model: str = DEFAULT_MODEL
    host: str = "127.0.0.1"
    port: int = 8001  # as in the default of the setting `judge_url`
    retention: int | None = None
    """Tokens between kept recurrent states, a multiple of the block size that vLLM logs at its
    start; 0 keeps the last of each prompt, None all that arise."""
    extra: tuple[str, ...] = ()  # last, since vLLM takes the last of a repeated flag

    @property
    def base_url(self) -> str:
        """The value of `judge_url` on the same machine."""
        anywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound
        host = "127.0.0.1" if anywhere else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"


def serve_flags(serving: Serving) -> list[tuple[list[str], str]]:
    """Recommended flags for a judge that has one GPU to itself, each with its reason."""
    align = (
        "a shared prefix can be resumed where recurrent state was kept, at a block's end; "
        "only for hybrid models, one without such layers fails on its first request"
    )
    retention = (
        "None keeps each state that arises, at the end of a step and where two prompts part; the "
        "default drops the first kind, which a group needs when its prompts take several steps"
    )
    kwargs = '{"enable_thinking": false}'
    thinking = "verdicts, not reasoning; for others than this service, which asks for it itself"
    hybrid = _HYBRID.search(serving.model) is not None
    flags = (
        ("--served-model-name", serving.model, "the name that CITEMARK_JUDGE_MODEL has to match"),
        ("--language-model-only", None, "no image or video tower: its memory goes to the cache"),
        ("--max-model-len", "32768", "holds the longest prompt, 80,000 bytes, with its reply"),
        ("--max-num-batched-tokens", "16384", "judging is nearly all prefill: few large steps"),
        ("--gpu-memory-utilization", "0.92", "the GPU is the judge's alone; the rest is slack"),
        ("--enable-prefix-caching", None, "samples of a group share rules, question and sources"),
        *((("--mamba-cache-mode", "align", align),) if hybrid else ()),
        ("--prefix-cache-retention-interval", str(serving.retention), retention),
        ("--default-chat-template-kwargs", kwargs, thinking),
        ("--generation-config", "vllm", "no sampling defaults of the model: verdicts are greedy"),
        ("--scheduling-policy", "priority", "training goes before audits that are sent with 10"),
        ("--enable-prompt-tokens-details", None, "replies say how many prompt tokens were cached"),
        ("--host", serving.host, "vLLM has no login: loopback unless told otherwise"),
        ("--port", str(serving.port), "where CITEMARK_JUDGE_URL points"),
    )
    return [([name] if value is None else [name, value], why) for name, value, why in flags]


def serve_arguments(serving: Serving) -> list[str]:
    flags = (word for words, _ in serve_flags(serving) for word in words)
    return [serving.model, *flags, *serving.extra]


def find_obstacles(model: str, *, launcher: str | None, accelerator: bool) -> list[str]:
    """Known reasons why vLLM cannot start here, one sentence each.

    `launcher` is the path of the `vllm` command, None if there is none.
    """
    found = []
    if launcher is None:
        found.append(
            "vLLM is not installed here: there is no `vllm` command beside this Python or on "
            "PATH; pip install 'citemark[service,vllm]' (Linux, several GB)"
        )
    if not accelerator:
        memory = GPU_MEMORY_GB.get(model)
        needs = f"; {model} needs one with about {memory} GB" if memory else ""
        found.append(f"no GPU is seen here{needs}; --any-device starts vLLM all the same")
    return found


def detect_accelerator(devices: Path) -> bool:
    return any(True for pattern in _ACCELERATORS for _ in devices.glob(pattern))


class CannotRun(click.ClickException):
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
@click.option("--port", type=click.IntRange(1, 65535), default=8001, show_default=True, metavar="N")
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
def command(*, any_device: bool, dry_run: bool, why: bool, **chosen: Any) -> None:
    """Start vLLM with the flags that this service wants. What follows `--` goes to vLLM.

    The command is printed, then this process becomes it: signals and exit status are vLLM's.
    Exit status 2 where it cannot run, with what is missing.
    """
    serving = Serving(**chosen)
    if why:
        table = Table("flag", "why", box=None, padding=(0, 2, 0, 0))
        for words, reason in serve_flags(serving):
            table.add_row(plain(shlex.join(words)), plain(reason))
        show(table)
        return
    beside = Path(sys.executable).with_name("vllm")
    launcher = str(beside) if beside.is_file() else shutil.which("vllm")
    arguments = [launcher or "vllm", "serve", *serve_arguments(serving)]
    click.echo(shlex.join(arguments))
    if dry_run:
        return
    accelerator = any_device or detect_accelerator(Path("/dev"))
    if found := find_obstacles(serving.model, launcher=launcher, accelerator=accelerator):
        raise CannotRun("\n".join(found))
    judge = ["--judge", "vllm", "--judge-url", serving.base_url, "--judge-model", serving.model]
    click.echo(f"once it is up: {shlex.join(['citemark', 'serve', *judge])}", err=True)
    # exec replaces the process without flushing Python's buffers.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(arguments[0], arguments)  # noqa: S606 - no shell is wanted between us and vLLM
    except OSError as error:
        raise CannotRun(f"cannot start {arguments[0]}: {error.strerror}") from error
