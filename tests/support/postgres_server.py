"""A PostgreSQL server of its own on loopback, where the machine has one installed.

It ends with the process that started it, however that one ends: a leash, a shell that reads a pipe
whose other end only that process holds, stops the server when the pipe breaks.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.scripted_service import free_url

_WAIT_S = 60
_LEASH = 'read -r line; "$1/pg_ctl" -D "$2" -m immediate stop; rm -rf "$2"'


class Server:
    """A server with its data in `data`; it can be stopped and started again.

    It refuses to run as root; the packaged user `postgres` stands in then.
    """

    def __init__(self, programs: Path, data: Path) -> None:
        self._programs = programs
        self._data = data
        self._log = data.parent / "log"
        self.user = "postgres" if os.geteuid() == 0 else None
        self._port = free_url().rpartition(":")[2]
        self.address = f"postgresql://citemark@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Return when it takes connections."""
        options = f"-F -p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self.control("pg_ctl", "-o", options, "-w", "start")

    def stop(self) -> None:
        """At once, as in a crash."""
        self.control("pg_ctl", "-m", "immediate", "stop")

    def control(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        # The server keeps the stream open when `pg_ctl` has ended: a pipe would wait for it.
        with self._log.open("ab") as log:
            ended = subprocess.run(  # noqa: PLW1510 - the log says why
                command, user=self.user, cwd="/", timeout=_WAIT_S, stdout=log, stderr=log
            )
        assert ended.returncode == 0, self._log.read_text(errors="replace")[-4000:]


@contextmanager
def running_server() -> Iterator[Server]:
    """The newest installed server, running; skips the test where none is installed."""
    packaged = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    program = packaged[-1] if packaged else shutil.which("initdb")
    if program is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    programs = Path(program).parent
    # Its user may not enter pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="citemark-pg-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        data = Path(folder) / "data"
        data.mkdir()
        server = Server(programs, data)
        if server.user is not None:
            shutil.chown(data, server.user, server.user)
        server.control("initdb", "-A", "trust", "-U", "citemark", "-E", "UTF8")
        # In a session of its own, so that an interruption of the tests does not end the leash.
        leash = subprocess.Popen(
            ["/bin/sh", "-c", _LEASH, "leash", str(programs), str(data)],
            user=server.user,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            server.start()
            yield server
        finally:
            leash.communicate(timeout=_WAIT_S)  # closes the pipe
