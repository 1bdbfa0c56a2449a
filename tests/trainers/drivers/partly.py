"""Ways to import one module of a trainer without all that the trainer imports around it.

The module itself runs as it was published. What is left out is said where it is left out.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def bare(*packages: str) -> None:
    """Make packages importable without running their own code, parents first."""
    for name in packages:
        parent, _, _ = name.rpartition(".")
        where = importlib.import_module(parent).__path__ if parent else None
        spec = PathFinder.find_spec(name, where)
        assert spec is not None, f"{name} is not installed"
        module = ModuleType(name)
        module.__spec__ = spec
        module.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[name] = module


class _Absent(ModuleType):
    """Has every name that is asked of it, for import statements; none of them does anything."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _Finder(MetaPathFinder, Loader):
    """Finds absent packages and all modules in them."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        found = fullname.partition(".")[0] in self._packages
        return ModuleSpec(fullname, self, is_package=True) if found else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""


def absent(*packages: str) -> None:
    """Let packages that need a GPU, and are not called here, be imported."""
    sys.meta_path.append(_Finder(packages))
