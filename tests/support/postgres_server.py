"""A PostgreSQL server of its own on loopback, where the machine has one installed."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

_WAIT_S = 60


def binaries() -> Path | None:
    """The newest installed server's folder of programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).parent if on_path else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """A server with its data in `folder`; it can be stopped and started again.

    It refuses to run as root; the packaged user `postgres` stands in then.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        self._port = _free_port()

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address of its empty database, `postgresql://…`; it ends with the block."""
        self._data.mkdir()
        if self._user is not None:
            record = pwd.getpwnam(self._user)
            os.chown(self._data, record.pw_uid, record.pw_gid)
        self._control("initdb", "-A", "trust", "-U", "citemark", "-E", "UTF8")
        self.start()
        try:
            yield f"postgresql://citemark@127.0.0.1:{self._port}/postgres"
        finally:
            self.stop()

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


def serving(programs: Path, folder: Path) -> AbstractContextManager[str]:
    """The address of an empty database, `postgresql://…`; the server ends with the block."""
    return Server(programs, folder).running()
