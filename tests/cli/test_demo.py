"""The demo as `make demo` runs it: a process that starts another and scores over HTTP."""

import json
import os
import subprocess
import sys

from support.command_line import EXAMPLES

DEMO = [sys.executable, str(EXAMPLES / "demo.py")]


def test_the_demo_shows_every_example() -> None:
    # With a token that is another service's: the demo asks for none.
    environment = {**os.environ, "CITEMARK_API_TOKEN": "another-services"}
    done = subprocess.run(
        DEMO, capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    for line in (EXAMPLES / "rollouts.jsonl").read_text().splitlines():
        assert json.loads(line)["id"] in done.stdout
    assert "16 rollouts by embedded" in done.stdout
    assert done.stdout.count("no_answer_block") == 1


def test_the_demo_fails_where_the_service_does_not_start() -> None:
    demo = [*DEMO, "--judge", "nobody"]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "the service ended with status 2" in done.stderr
