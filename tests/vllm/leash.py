"""`python leash.py COMMAND…`: run it, and end it with all it started when our input closes.

A test run that is killed cannot tear anything down, but its end of the pipe closes. The first
line of our output is the process id, which is also the process group, of the command.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

child = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
)


def signal_group(number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def end_with_input() -> None:
    sys.stdin.buffer.read()
    signal_group(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(20)
    signal_group(signal.SIGKILL)


print(child.pid, flush=True)  # noqa: T201
threading.Thread(target=end_with_input, daemon=True).start()
status = child.wait()
signal_group(signal.SIGKILL)  # what it started may outlive it
sys.exit(status)
