"""What `docker/` gives Prometheus and Grafana, as data."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DOCKER = Path(__file__).resolve().parents[2] / "docker"
RULES = DOCKER / "prometheus" / "rules" / "citemark.yml"
RECORDING = Path(__file__).parents[1] / "dashboards" / "vllm.prom"
"""The metrics of vLLM 0.32, as it told them after twelve requests."""

Board = Mapping[str, Any]


def boards() -> dict[str, Board]:
    found = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found}


def panels(board: Board) -> list[Board]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: Board) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression, for each query of a dashboard."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def alerts() -> dict[str, Mapping[str, Any]]:
    groups = yaml(RULES)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def promtool(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
