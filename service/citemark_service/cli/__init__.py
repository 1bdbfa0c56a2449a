"""The command line `citemark`. Each command is `command` in the module of its name."""

import importlib
from typing import Any

import click

from citemark_rubrics import RubricError
from citemark_service.errors import CitemarkError
from citemark_service.printable import printable

_COMMANDS = (
    "serve", "score", "explain", "rescore", "export", "rubrics", "agree", "doctor", "convert",
    "scaffold", "judge",
)  # fmt: skip


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        # Imported only now, so that `citemark explain` does not load a web server.
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CitemarkError, RubricError) as error:
            # One line and status 2. Names of runs and criteria in it are untrusted.
            raise click.UsageError(printable(str(error))) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)  # as shells report SIGINT


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="citemark")
def main() -> None:
    """Rewards for research rollouts: judged rubrics plus 0.2 × citation F1.

    Every setting is also a variable, CITEMARK_ and its name: CITEMARK_JUDGE_URL and so on.
    """
