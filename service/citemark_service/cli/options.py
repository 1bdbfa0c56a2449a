"""Flags that several commands share."""

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
from pydantic import ValidationError

from citemark_schemas import Knobs
from citemark_service.settings import JUDGES, Settings, load_settings

INPUT: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT: Final = click.Path(dir_okay=False, path_type=Path)
_SERVER_FLAGS: Final = {"judge_url", "judge_model"}

Command = TypeVar("Command", bound=Callable[..., object])


def setting_option(name: str, text: str, **attributes: Any) -> Callable[[Command], Command]:
    """A flag for a setting, None if unset: the environment's value or the default holds then."""
    default = Settings.model_fields[name].default
    shown = {None: "", True: "  [on]", False: "  [off]"}.get(default, f"  [{default}]")
    flag = f"--{name.replace('_', '-')}"
    spelt = f"{flag}/--no-{flag[2:]}" if isinstance(default, bool) else flag
    return click.option(spelt, name, default=None, help=text + shown, **attributes)


def knob_option(text: str = "Of the reward; repeatable.") -> Callable[[Command], Command]:
    return click.option("--knob", "knobs", multiple=True, metavar="NAME=VALUE", help=text)


def add_options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """A decorator that adds these options in this order."""

    def add(command: Command) -> Command:
        # --help lists the option first that is applied last.
        for option in reversed(options):
            command = option(command)
        return command

    return add


# The flags that choose a judge, named as the settings.
judge_options = add_options(
    setting_option("judge", "Who judges.", type=click.Choice(tuple(JUDGES))),
    setting_option("judge_url", "Its server.", metavar="URL"),
    setting_option("judge_model", "Model there.", metavar="NAME"),
    setting_option("judge_asks", "Verdicts, written or read.", metavar="HOW"),
    setting_option("judge_concurrency", "Calls in flight to it.", type=int, metavar="N"),
    setting_option("criteria_per_call", "1 is the careful mode.", type=int, metavar="N"),
    setting_option("evidence_quotes", "Ask for quotes."),
)


def chosen_settings(flags: Mapping[str, Any]) -> Settings:
    """Settings of the environment and of `flags` that are not None, which win.

    Raises `click.UsageError` where a server's flag is given to a judge that has no server.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = load_settings(**given)
    idle = sorted(given.keys() & _SERVER_FLAGS)
    # Else that judge would take the server's place unnoticed.
    if idle and not JUDGES[settings.judge].served:
        needed = " or ".join(f"--judge {name}" for name, entry in JUDGES.items() if entry.served)
        raise click.UsageError(
            f"--{idle[0].replace('_', '-')} is for a server; judge {settings.judge} has none. "
            f"Add {needed}."
        )
    return settings


def given_flags(flags: Mapping[str, Any]) -> list[str]:
    """The flags that are not None, spelled as on the command line."""
    return [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None]


def parse_knobs(pairs: Sequence[str]) -> Knobs:
    """Knobs from NAME=VALUE texts; others stay unset. Raises `click.BadParameter`."""
    given, known = dict[str, str](), list(Knobs.model_fields)
    for text in pairs:
        name, equals, given[name] = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--knob")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise click.BadParameter(f"{name!r} is not a knob; {hint}", param_hint="--knob")
    try:
        return Knobs.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise click.BadParameter(problems, param_hint="--knob") from error


def refuse_overwriting(output: Path, *inputs: Path | None) -> None:
    """Raise `click.UsageError` where an output is one of the inputs, also through a link."""
    if not output.exists():
        return
    for each in filter(None, inputs):
        try:
            held = os.fstat(sys.stdin.fileno()) if str(each) == "-" else each.stat()
        except OSError:  # a standard input that is no file
            continue
        if os.path.samestat(held, output.stat()):
            raise click.UsageError(
                f"{output} is read too, and would be overwritten; choose another output"
            )


def service_url(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The root of a service; `/v1/score` at its end is dropped."""
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port  # raises where the port is no number
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error
    if parts.scheme not in ("http", "https"):
        raise click.BadParameter("must start with http:// or https://", ctx, parameter)
    if not host:
        raise click.BadParameter("names no host", ctx, parameter)
    if parts.query or parts.fragment:
        told = "takes no query: set CITEMARK_API_TOKEN, or write the token as http://HOST/t/TOKEN"
        raise click.BadParameter(told, ctx, parameter)
    return value.rstrip("/").removesuffix("/v1/score")
