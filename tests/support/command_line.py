"""What the tests of the command line share: the shapes of their fixtures, and the examples."""

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from click.testing import Result

Cli = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]
WriteRows = Callable[[Iterable[Mapping[str, Any]]], Path]

EXAMPLES = Path(__file__).parents[2] / "examples"
