"""The command line `citemark`. Each command lives in the module of its name, as `command`.

Modules are imported when their command is asked for, so that `citemark explain` need not load
a web server. What the user did wrong is one line and exit status 2, never a traceback.
"""

import importlib
from typing import Any

import click

from citemark_rubrics import RubricError
from citemark_service.errors import CitemarkError
from citemark_service.printable import printable

_COMMANDS = (
    "serve",
    "score",
    "explain",
    "rescore",
    "export",
    "rubrics",
    "agree",
    "doctor",
    "convert",
    "scaffold",
    "judge",
)


class _Commands(click.Group):
    """Finds commands by name and turns the service's errors into one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CitemarkError, RubricError) as error:
            # It may name what a stranger called a run or a criterion.
            raise click.UsageError(printable(str(error))) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="citemark")
def main() -> None:
    """Rewards for research rollouts: judged rubrics plus 0.2 × citation F1.

    Every setting is also a variable, CITEMARK_ and its name: CITEMARK_JUDGE_URL and so on.
    """
