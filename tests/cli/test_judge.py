"""`citemark judge`: the command it builds, what it says where it cannot run, what it becomes."""

import shlex
import signal
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from citemark_service.cli.judge import accelerator_seen
from citemark_service.cli.vllm import (
    DEFAULT_MODEL,
    Serving,
    obstacles,
    serve_arguments,
    serve_flags,
)
from citemark_service.settings import Settings
from support.command_line import Cli, Start

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!{python}
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(43))
print("arguments", *sys.argv[1:], flush=True)
if "--linger" in sys.argv:
    time.sleep(60)
sys.exit(42)
"""


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with an empty folder, which is returned."""
    if Path(sys.executable).with_name("vllm").exists():
        pytest.skip("this environment has a vLLM of its own")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def fake_vllm(no_vllm: Path) -> None:
    """A `vllm` on PATH that prints its arguments and ends with 42, or with 43 when asked to."""
    script = no_vllm / "vllm"
    script.write_text(FAKE.format(python=sys.executable))
    script.chmod(0o755)


def test_the_flags_are_those_of_the_compose_file() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker" / "compose.yaml")
    command = compose["services"]["vllm"]["command"]
    model = Serving(model=command[0])
    assert list(serve_arguments(model)[: len(command)]) == command
    assert list(serve_arguments(model)[len(command) :]) == ["--host", "127.0.0.1", "--port", "8001"]
    assert model.model == DEFAULT_MODEL


def test_the_default_port_is_where_the_service_looks() -> None:
    assert Serving().base_url == Settings.model_fields["judge_url"].default


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9/v1"),
        ("::", "http://127.0.0.1:9/v1"),
        ("::1", "http://[::1]:9/v1"),
        ("gpu7", "http://gpu7:9/v1"),
    ],
)
def test_the_address_is_one_to_connect_to(host: str, url: str) -> None:
    assert Serving(host=host, port=9).base_url == url


@pytest.mark.parametrize(
    ("model", "hybrid"),
    [
        ("Qwen/Qwen3.5-35B-A3B", True),
        ("models/qwen3.5-4b", True),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", True),
        ("Qwen/Qwen3-4B", False),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", False),
    ],
)
def test_only_hybrid_models_get_a_mode_for_recurrent_state(model: str, hybrid: bool) -> None:
    names = [flag.name for flag in serve_flags(Serving(model=model))]
    assert ("--mamba-cache-mode" in names) is hybrid


def test_extra_arguments_come_last_so_that_they_win() -> None:
    serving = Serving(retention=528, extra=("--port", "9"))
    assert serve_arguments(serving)[-2:] == ("--port", "9")
    assert "528" in serve_arguments(serving)


def test_every_obstacle_is_named() -> None:
    no_vllm, no_gpu = obstacles(Serving(), launcher=None, accelerator=False)
    assert "citemark[service,vllm]" in no_vllm
    assert "42 GB" in no_gpu
    (unknown_size,) = obstacles(Serving(model="other"), launcher="/x/vllm", accelerator=False)
    assert "GB" not in unknown_size
    assert obstacles(Serving(), launcher="/x/vllm", accelerator=True) == ()


def test_a_gpu_is_seen_by_its_device_file(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()
    assert not accelerator_seen(tmp_path)
    (tmp_path / "nvidia3").touch()
    assert accelerator_seen(tmp_path)


@pytest.mark.usefixtures("no_vllm")
def test_a_dry_run_prints_the_command_and_needs_nothing(cli: Cli) -> None:
    result = cli("judge", "--dry-run", "--model", "a b", "--retention", "0", "--", "--seed", "1")
    printed = shlex.split(result.stdout)
    assert result.exit_code == 0
    assert printed[:3] == ["vllm", "serve", "a b"]
    assert printed[-2:] == ["--seed", "1"]
    assert printed[printed.index("--prefix-cache-retention-interval") + 1] == "0"


@pytest.mark.usefixtures("no_vllm")
def test_where_it_cannot_run_it_says_what_is_missing(cli: Cli) -> None:
    result = cli("judge", "--any-device")
    assert result.exit_code == 2
    assert result.stdout.startswith("vllm serve")
    assert "pip install 'citemark[service,vllm]'" in result.stderr
    assert "GPU" not in result.stderr


def test_a_retention_that_is_no_number_is_refused(cli: Cli) -> None:
    result = cli("judge", "--dry-run", "--retention", "12x")
    assert result.exit_code == 2
    assert "12x" in result.stderr


def test_every_flag_says_why(cli: Cli) -> None:
    shown = cli("judge", "--why").stdout
    assert all(
        flag.name in shown and flag.why.split()[0] in shown for flag in serve_flags(Serving())
    )


@pytest.mark.usefixtures("fake_vllm")
def test_the_exit_status_is_that_of_vllm(start: Start) -> None:
    process = start("judge", "--any-device", "--port", "9")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 42
    assert "arguments serve Qwen/" in stdout
    assert "citemark serve --judge vllm --judge-url http://127.0.0.1:9/v1" in stderr


@pytest.mark.usefixtures("fake_vllm")
def test_a_signal_reaches_vllm(start: Start) -> None:
    process = start("judge", "--any-device", "--", "--linger")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("arguments"):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 43
