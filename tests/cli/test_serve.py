"""`citemark serve` as a process, with a server as its judge; and where it cannot serve."""

import asyncio
import re
import signal
import subprocess
import threading
from contextlib import suppress

import httpx
import pytest

from support.command_line import Start, cli
from support.judge_tasks import by_shape
from support.scripted_judge import MODEL, Reply, ScriptedJudge, always
from support.step_rollouts import rollout


async def awaited(process: subprocess.Popen[str], *patterns: str) -> list[str]:
    """The first group of each pattern, once the log has them all."""

    def read() -> list[str]:
        assert process.stderr is not None
        said = ""
        patience = threading.Timer(60.0, process.kill)  # which ends the log too
        patience.start()
        try:
            for line in process.stderr:
                said += line
                found = [match for each in patterns if (match := re.search(each, said))]
                if len(found) == len(patterns):
                    return [match[1] for match in found]
        finally:
            patience.cancel()
        raise AssertionError(f"the service ended without saying {patterns}: {said}")

    return await asyncio.to_thread(read)


def serving(start: Start, judge: ScriptedJudge) -> subprocess.Popen[str]:
    flags = ("--judge", "vllm", "--judge-url", judge.url, "--judge-model", MODEL)
    return start("serve", "--port", "0", *flags)


async def test_serve_probes_its_judge_and_says_what_it_found(start, start_judge):
    judge = await start_judge(always(Reply("Shelves of books.")))
    process = serving(start, judge)
    assert await awaited(process, r"ERROR citemark.probe .* (\w+) failed: ") == ["grammar"]
    assert judge.calls == 3


async def test_serve_answers_keeps_and_stops_and_does_not_probe_where_that_is_off(
    start, start_judge, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CITEMARK_LEDGER")
    monkeypatch.setenv("CITEMARK_PROBE_AT_START", "false")
    judge = await start_judge(by_shape(V=2, S=2, U=1, C=1))
    process = serving(start, judge)
    kept, told = await awaited(process, r" rollouts are kept in (.+)\n", r"serving on (.+)\n")
    assert kept == f"sqlite:///{tmp_path / 'citemark.db'}"
    url, _, who = told.partition(" with ")
    assert who == f"judge vllm, model {MODEL}, at {judge.url}"
    async with httpx.AsyncClient(base_url=url, timeout=20.0, trust_env=False) as client:
        assert (await client.get("/readyz")).status_code == 200
        result = (await client.post("/v1/score", json=rollout(1, 1))).json()
    assert result["reward"] > 0
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60.0)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert judge.calls == result["judge"]["calls"] == 2


HALF = b"GET /healthz HTTP/1.1\r\nHost: x"
BODY = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"


@pytest.mark.parametrize(
    ("token", "kinds"),
    [
        ("", {(b"", b""): 150, (HALF, b""): 150, (HALF, b"x"): 25, (BODY, b" "): 25}),
        ("of-16-characters", {(BODY, b" "): 350}),
    ],
    ids=["300 idle and 50 dripping", "350 refused ones that go on"],
)
async def test_who_only_holds_connections_keeps_nobody_out(start, monkeypatch, token, kinds):
    if token:
        monkeypatch.setenv("CITEMARK_API_TOKEN", token)
    (url,) = await awaited(start("serve", "--port", "0", files=256), r"serving on (\S+)")
    host, _, port = url.removeprefix("http://").rpartition(":")
    opened = 0

    def be_served() -> None:
        """In a thread, since what holds the connections keeps the loop busy."""
        with httpx.Client(base_url=url, timeout=20.0, trust_env=False) as client:
            assert client.get("/healthz").status_code == 200
            answer = client.post("/v1/score", json=rollout(1, 1), headers={"X-Api-Key": token})
            assert answer.json()["reward"] > 0

    async def hold(start_of: bytes, drip: bytes) -> None:
        """Hold a connection, and open another where the service closes it."""
        nonlocal opened
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                opened += 1
                try:
                    writer.write(start_of)
                    while drip and not reader.at_eof():
                        writer.write(drip)
                        await asyncio.sleep(0.2)
                    await reader.read()
                finally:
                    writer.transport.abort()
                    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await asyncio.sleep(2.0)

    async with asyncio.TaskGroup() as group:
        holding = [
            group.create_task(hold(*kind)) for kind, count in kinds.items() for _ in range(count)
        ]
        async with asyncio.timeout(60.0):
            while opened < len(holding):  # noqa: ASYNC110  counted, not signalled
                await asyncio.sleep(0.05)
        for _ in range(40):  # each on a connection of its own
            await asyncio.to_thread(be_served)
        for each in holding:
            each.cancel()


@pytest.mark.parametrize(
    ("flags", "max_items", "says"),
    [
        ((), "many", "max_items"),
        ((), "1", "Error: cannot listen on {host}:{port}: Address already in use"),
        (("--host", "192.0.2.1", "--no-token"), "1", "Error: cannot listen on 192.0.2.1:"),
        (("--host", "0.0.0.0"), "1", "Error: others can reach 0.0.0.0: set CITEMARK_API_TOKEN"),
        (("--host", "::"), "1", "or say --no-token"),
        (("--host", "0.0.0.0", "--no-token"), "1", "Error: cannot listen on 0.0.0.0:"),
    ],
    ids=["a bad setting", "a taken port", "not ours", "open", "open by another name", "meant"],
)
def test_serve_says_in_one_line_why_it_cannot(citemark_url, flags, max_items, says):
    host, _, port = citemark_url.removeprefix("http://").rpartition(":")
    says = says.format(host=host, port=port)
    env = {"CITEMARK_MAX_ITEMS": max_items}
    cli("serve", "--host", host, "--port", port, *flags, status=2, says=says, env=env)
