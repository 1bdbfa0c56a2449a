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

GRACE_S = 20


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask the group to stop, then make it."""
    signal_group(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    signal_group(child.pid, signal.SIGKILL)


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal a process group, which may be gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def main(command: list[str]) -> int:
    """Run the command until it ends or our input does; its exit status."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    waiting = threading.Thread(target=_end_with_input, args=(child,), daemon=True)
    waiting.start()
    status = child.wait()
    signal_group(child.pid, signal.SIGKILL)  # what it started may outlive it
    return status


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    end(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
