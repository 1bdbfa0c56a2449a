"""`citemark judge`: the command it builds, what it says where it cannot run, what it becomes."""

import shlex
import signal
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from citemark_service.cli.judge import (
    DEFAULT_MODEL,
    Serving,
    detect_accelerator,
    find_obstacles,
    serve_flags,
)
from citemark_service.settings import Settings
from support.command_line import cli

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


def dry_run(*flags: str) -> list[str]:
    """The words of the command, without those that start vLLM."""
    vllm, serve, *words = shlex.split(cli("judge", "--dry-run", *flags).stdout)
    assert (Path(vllm).name, serve) == ("vllm", "serve")
    return words


def test_the_flags_are_those_of_the_compose_file():
    compose = YAML(typ="safe").load(ROOT / "docker" / "compose.yaml")
    command = compose["services"]["vllm"]["command"]
    assert command[0] == DEFAULT_MODEL
    assert dry_run() == [*command, "--host", "127.0.0.1", "--port", "8001"]


@pytest.mark.usefixtures("no_vllm")
def test_a_dry_run_needs_nothing_and_passes_on_what_it_is_given():
    model, *flags = dry_run("--model", "a b", "--retention", "0", "--", "--seed", "1")
    assert (model, flags[-2:]) == ("a b", ["--seed", "1"])
    assert flags[flags.index("--prefix-cache-retention-interval") + 1] == "0"


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
def test_only_hybrid_models_get_a_mode_for_recurrent_state(model, hybrid):
    assert ("--mamba-cache-mode" in dry_run("--model", model)) is hybrid


@pytest.mark.parametrize(
    ("serving", "url"),
    [
        (Serving(), Settings.model_fields["judge_url"].default),
        (Serving(host="0.0.0.0", port=9), "http://127.0.0.1:9/v1"),
        (Serving(host="::", port=9), "http://127.0.0.1:9/v1"),
        (Serving(host="::1", port=9), "http://[::1]:9/v1"),
        (Serving(host="gpu7", port=9), "http://gpu7:9/v1"),
    ],
)
def test_the_address_is_one_to_connect_to(serving, url):
    assert serving.base_url == url


def test_every_obstacle_is_named(tmp_path):
    (tmp_path / "nvidiactl").touch()
    assert not detect_accelerator(tmp_path)
    (tmp_path / "nvidia3").touch()
    assert detect_accelerator(tmp_path)
    no_vllm, no_gpu = find_obstacles(DEFAULT_MODEL, launcher=None, accelerator=False)
    assert "citemark[service,vllm]" in no_vllm
    assert "42 GB" in no_gpu
    (unknown_size,) = find_obstacles("other", launcher="/x/vllm", accelerator=False)
    assert "GB" not in unknown_size
    assert find_obstacles("other", launcher="/x/vllm", accelerator=True) == []


@pytest.mark.usefixtures("no_vllm")
def test_where_it_cannot_run_it_says_what_is_missing():
    says = "pip install 'citemark[service,vllm]'"
    result = cli("judge", "--any-device", status=2, says=says)
    assert result.stdout.startswith("vllm serve")
    assert "GPU" not in result.stderr


def test_every_flag_says_why_and_a_retention_that_is_no_number_is_refused():
    shown = cli("judge", "--why").stdout
    for words, why in serve_flags(Serving()):
        assert words[0] in shown
        assert why.split()[0] in shown
    cli("judge", "--dry-run", "--retention", "12x", status=2, says="12x")


@pytest.mark.usefixtures("fake_vllm")
def test_the_exit_status_is_that_of_vllm(start):
    process = start("judge", "--any-device", "--port", "9")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 42
    assert "arguments serve Qwen/" in stdout
    assert "citemark serve --judge vllm --judge-url http://127.0.0.1:9/v1" in stderr


@pytest.mark.usefixtures("fake_vllm")
def test_a_signal_reaches_vllm(start):
    process = start("judge", "--any-device", "--", "--linger")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("arguments"):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 43
