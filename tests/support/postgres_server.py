"""A PostgreSQL server of its own on loopback, where the machine has one installed.

It ends with the process that started it, however that one ends: a leash, a shell that reads a pipe
whose other end only that process holds, stops the server when the pipe breaks.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_WAIT_S = 60
_LEASH = 'read -r line; "$1/pg_ctl" -D "$2" -m immediate stop; rm -rf "$2"'


class Server:
    """A server with its data in `folder`; it can be stopped and started again.

    It refuses to run as root; the packaged user `postgres` stands in then.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        self.address = f"postgresql://citemark@127.0.0.1:{self._port}/postgres"

    @contextmanager
    def running(self) -> Iterator[None]:
        """It runs, with an empty database, until the block ends."""
        self._data.mkdir()
        if self._user is not None:
            record = pwd.getpwnam(self._user)
            os.chown(self._data, record.pw_uid, record.pw_gid)
        self._control("initdb", "-A", "trust", "-U", "citemark", "-E", "UTF8")
        # In a session of its own, so that an interruption of the tests does not end the leash.
        leash = subprocess.Popen(
            ["/bin/sh", "-c", _LEASH, "leash", str(self._programs), str(self._data)],
            user=self._user,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.start()
            yield
        finally:
            leash.communicate(timeout=_WAIT_S)  # closes the pipe

    def start(self) -> None:
        """Return when it takes connections."""
        options = f"-F -p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._control("pg_ctl", "-o", options, "-w", "start")

    def stop(self) -> None:
        """At once, as in a crash."""
        self._control("pg_ctl", "-m", "immediate", "stop")

    def _control(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        log = subprocess.DEVNULL
        subprocess.run(
            command, user=self._user, cwd="/", check=True, timeout=_WAIT_S, stdout=log, stderr=log
        )


@contextmanager
def running_server() -> Iterator[Server]:
    """The newest installed server, running; skips the test where none is installed."""
    packaged = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    program = packaged[-1] if packaged else shutil.which("initdb")
    if program is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    # Its user may not enter pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="citemark-pg-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        server = Server(Path(program).parent, Path(folder))
        with server.running():
            yield server
