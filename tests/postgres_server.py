"""A PostgreSQL server of its own on loopback, where the machine has one installed."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def serving(programs: Path, folder: Path) -> Iterator[str]:
    """The address of an empty database, `postgresql://…`; the server ends with the block.

    It refuses to run as root; the packaged user `postgres` stands in then.
    """
    user = "postgres" if os.geteuid() == 0 else None
    data, port = folder / "data", _free_port()
    data.mkdir()
    if user is not None:
        record = pwd.getpwnam(user)
        os.chown(data, record.pw_uid, record.pw_gid)
    options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="

    def control(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(data), *arguments]
        log = subprocess.DEVNULL
        subprocess.run(
            command, user=user, cwd="/", check=True, timeout=_WAIT_S, stdout=log, stderr=log
        )

    control("initdb", "-A", "trust", "-U", "citemark", "-E", "UTF8")
    control("pg_ctl", "-o", options, "-w", "start")
    try:
        yield f"postgresql://citemark@127.0.0.1:{port}/postgres"
    finally:
        control("pg_ctl", "-m", "immediate", "stop")
