"""The command line, run in this process; and the shapes of fixtures and examples for its tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from citemark_service.cli import main

Start = Callable[..., subprocess.Popen[str]]
WriteRows = Callable[..., Path]

EXAMPLES = Path(__file__).parents[2] / "examples"


def cli(*arguments: object, status: int = 0, says: str = "", **options: Any) -> Result:
    """Run `cli("score", path)`, which has to end with `status` and to say that as an error."""
    result = CliRunner().invoke(main, [str(each) for each in arguments], **options)
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit | None)
    assert "Traceback" not in result.output
    assert says in " ".join(result.stderr.split()), result.stderr
    return result
