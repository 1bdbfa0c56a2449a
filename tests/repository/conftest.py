"""The repository as data: the files git knows and the syntax trees of the code."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.checkout import list_files

PACKAGE_FOLDERS = ("schemas", "rubrics", "service", "grpo")
CODE_FOLDERS = (*PACKAGE_FOLDERS, "benchmarks", "examples")


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tracked(root: Path) -> tuple[Path, ...]:
    return list_files(root)


@pytest.fixture(scope="session")
def trees(root: Path) -> Mapping[Path, ast.Module]:
    paths = [path for folder in CODE_FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    return {path.relative_to(root): ast.parse(path.read_bytes()) for path in paths}


@pytest.fixture(scope="session")
def packages(trees: Mapping[Path, ast.Module]) -> Mapping[str, ast.Module]:
    return {
        _import_name(path): tree for path, tree in trees.items() if path.parts[0] in PACKAGE_FOLDERS
    }


def _import_name(path: Path) -> str:
    parts = path.with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
