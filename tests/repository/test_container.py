"""The container files agree with the code they start."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from citemark_service.settings import Settings
from support.provisioned import DOCKER, yaml
from support.scripted_service import free_url, listening


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of keyword and the rest, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(keyword, rest) for keyword, rest in (line.split(maxsplit=1) for line in joined)]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    files = ("compose.yaml", "compose.dashboards.yaml")
    return {key: value for name in files for key, value in yaml(DOCKER / name)["services"].items()}


def copied(instructions: list[tuple[str, str]]) -> list[str]:
    copies = [rest.split() for keyword, rest in instructions if keyword == "COPY"]
    return [name for names in copies if not names[0].startswith("--") for name in names[:-1]]


def test_what_the_image_copies_is_enough_to_build_from(root, instructions, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    for name in copied(instructions):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, context / name)
        else:
            shutil.copy(source, context)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=context, capture_output=True, text=True, check=True)


def test_the_build_context_is_exactly_what_is_copied(instructions):
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied(instructions))


def test_the_image_ends_as_a_fixed_user_and_serves(instructions):
    last = dict(instructions)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert json.loads(last["ENTRYPOINT"]) == ["citemark"]
    assert json.loads(last["CMD"]) == ["serve", "--host", "0.0.0.0"]  # which asks for a token
    assert last["STOPSIGNAL"] == "SIGTERM"


@pytest.mark.parametrize("status", [200, 503, 404, None])
def test_the_health_check_follows_healthz(instructions, status):
    """`status` None is a port on which nothing listens."""
    python, *arguments = json.loads(dict(instructions)["HEALTHCHECK"].split(" CMD ", 1)[1])
    assert python == "python"

    def check(url: str) -> bool:
        port = url.rpartition(":")[2]
        environ = {"CITEMARK_PORT": port, "http_proxy": "http://127.0.0.1:9"}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)
        assert done.returncode in (0, 1)
        return done.returncode == 0

    if status is None:
        assert not check(free_url())
        return
    app = Starlette(routes=[Route("/healthz", lambda _: Response(status_code=status))])
    with listening(app) as url:
        assert check(url) is (status == 200)


def test_every_variable_is_a_setting_or_in_the_example():
    known = {f"CITEMARK_{name.upper()}" for name in Settings.model_fields}
    for path in sorted(path for path in DOCKER.rglob("*") if path.is_file()):
        assert set(re.findall(r"CITEMARK_\w+", path.read_text())) <= known, path.name
    texts = [path.read_text() for path in DOCKER.glob("compose*.yaml")]
    asked = {name for text in texts for name in re.findall(r"\$\{(\w+)", text)}
    shown = re.findall(r"^#?(\w+)=", (DOCKER / "env.example").read_text(), re.MULTILINE)
    assert asked <= set(shown)


def test_compose_points_the_service_at_the_model_that_vllm_serves(services):
    environment = dict(services["citemark"]["environment"])
    assert environment.pop("CITEMARK_API_TOKEN").startswith("${CITEMARK_API_TOKEN:?")
    flags = services["vllm"]["command"]
    settings = Settings(**{k.removeprefix("CITEMARK_").lower(): v for k, v in environment.items()})
    assert settings.judge == "vllm"
    assert settings.judge_url == "http://vllm:8000/v1"
    assert settings.judge_model == flags[flags.index("--served-model-name") + 1]


def test_compose_pins_its_judge_and_waits_longer_than_a_graceful_stop(services):
    assert re.fullmatch(r"vllm/vllm-openai:v\d+\.\d+\.\d+", services["vllm"]["image"])
    grace = int(services["citemark"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["stop_grace_s"].default


def test_the_page_of_judges_serves_it_with_the_same_flags(root, services):
    lines = re.search(r"vllm serve (?:.*\\\n)*.*", (root / "docs" / "judge.md").read_text())
    assert lines, "docs/judge.md shows no `vllm serve` line"
    shown = shlex.split(lines.group().replace("\\\n", " "))
    assert shown == [
        *services["vllm"]["entrypoint"],
        *services["vllm"]["command"],
        "--port",
        "8001",
    ]


GUARDED = ("citemark", "prometheus", "grafana")


@pytest.mark.parametrize("name", GUARDED)
def test_a_container_has_no_more_rights_than_it_needs(services, name):
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    if name != "citemark":  # its own image says these three
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", service["image"])
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
        assert service["healthcheck"]["test"][0] == "CMD"


def test_ports_are_of_this_host_and_mounts_are_there_and_read_only(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == len(GUARDED)
    assert all(re.match(r"(\$\{\w+:-)?127\.0\.0\.1(\})?:", port) for port in ports)
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    mounts = [volume.split(":") for volume in volumes if volume.startswith(".")]
    assert len(mounts) == 3
    for source, _, mode in mounts:
        assert (DOCKER / source).is_dir()
        assert mode == "ro"


def test_the_ledger_is_in_the_volume_which_the_user_owns(instructions, services):
    ledger = re.search(r"CITEMARK_LEDGER=sqlite:///(\S+)", dict(instructions)["ENV"])
    assert ledger is not None
    folder = str(Path(ledger[1]).parent)
    assert f"ledger:{folder}" in services["citemark"]["volumes"]
    runs = [rest for keyword, rest in instructions if keyword == "RUN"]
    assert any(f"install -d -o citemark -g citemark -m 0750 {folder}" in run for run in runs)


def test_grafana_lets_nobody_in_without_a_password_of_ones_own(services):
    environment = services["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "${GRAFANA_ANONYMOUS:-false}"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_prometheus_keeps_a_bounded_past(services):
    flags = " ".join(services["prometheus"]["command"])
    assert set(re.findall(r"\.retention\.(\w+)=", flags)) == {"time", "size"}
