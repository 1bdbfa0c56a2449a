"""Makes the environment that the tests of this folder drive: trainers, as their users have them.

    PYTHONPATH=tests python tests/trainers/prepare.py ENVIRONMENT

Exit status 0 when it is there, 3 where it cannot be installed, with the reason printed; anything
else is a failure.
"""

import sys
from pathlib import Path

import click

from support.environments import CANNOT_INSTALL, CannotInstall, install, installed

_REQUIREMENTS = Path(__file__).parent / "requirements.txt"


def main(environment: Path) -> int:
    """Do what is not done yet; the exit status."""
    if installed(environment, _REQUIREMENTS):
        return 0
    click.echo(f"installing trainers for the CPU into {environment} (about 2 GB)")
    try:
        # What NeMo Gym says it needs is newer than what the modules driven here do need.
        install(environment, _REQUIREMENTS, "--ignore-requires-python")
    except CannotInstall as error:
        click.echo(f"skipped: the trainers cannot be installed here:\n{error}")
        return CANNOT_INSTALL
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
