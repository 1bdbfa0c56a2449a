"""Who may import whom: schemas ← rubrics ← service, schemas ← grpo ← the command line."""

import ast
import re
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from itertools import accumulate

import pytest

import citemark_grpo

Modules = Mapping[str, ast.Module]

OURS = {
    "citemark_schemas": set[str](),
    "citemark_rubrics": {"citemark_schemas"},
    "citemark_grpo": {"citemark_schemas"},
    "citemark_judge": {"citemark_schemas", "citemark_grpo"},
    "citemark_service": {"citemark_schemas", "citemark_rubrics", "citemark_grpo"},
}
"""Each package and those of ours that it may import."""

PURE = (
    "score.formula",
    "rescoring.compare",
    "ledger.tables",
    "score.citations",
    "parsing.sources",
    "parsing.answer",
    "parsing.sentences",
    "parsing.format",
    "parsing.parsed",
)
"""Modules of the service that only compute."""
IMPURE = {"asyncio", "aiohttp", "httpx", "fastapi", "starlette", "openai", "os"}

SOLE_USERS = {
    "aiohttp": "citemark_service.judges.server.client",
    "openai": "citemark_service.judges.server.hosted",
    "pydantic_settings": "citemark_service.settings",
}
"""Libraries that one module alone may import."""

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}


def imports(name: str, tree: ast.Module, modules: Modules) -> Iterator[str]:
    """Full names that module `name` imports, wherever in it, relative imports resolved."""
    is_package = any(other.startswith(f"{name}.") for other in modules)
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def top(name: str) -> str:
    return name.partition(".")[0]


def reach(start: str, modules: Modules) -> dict[str, str]:
    """Top-level packages that importing `start` brings in through our code, and by which module."""
    brought: dict[str, str] = {}
    waiting, seen = [start], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in modules:
            continue
        seen.add(name)
        for imported in imports(name, modules[name], modules):
            brought.setdefault(top(imported), name)
            # With its parent packages, which run first.
            waiting.extend(accumulate(imported.split("."), "{}.{}".format))
    return brought


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_those_below_it(package, packages):
    forbidden = set(OURS) - OURS[package] - {package}
    found = {
        name: sorted(forbidden & {top(i) for i in imports(name, tree, packages)})
        for name, tree in packages.items()
        if top(name) == package
    }
    assert found, f"{package} has no modules"
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_only_the_command_line_uses_the_client_and_only_what_it_exports(packages):
    found = {
        (name, imported)
        for name, tree in packages.items()
        if top(name) == "citemark_service"
        for imported in imports(name, tree, packages)
        if top(imported) == "citemark_grpo"
    }
    assert all(name.startswith("citemark_service.cli.") for name, _ in found)
    public = {f"citemark_grpo.{name}" for name in citemark_grpo.__all__}
    assert {imported for _, imported in found} <= {"citemark_grpo", *public}


@pytest.mark.parametrize("module", PURE)
def test_arithmetic_reaches_no_network_web_or_system_code(module, packages):
    name = f"citemark_service.{module}"
    assert name in packages
    brought = reach(name, packages)
    assert "fastapi" in reach("citemark_service.app", packages)
    assert {package: brought[package] for package in IMPURE & brought.keys()} == {}


@pytest.mark.parametrize("library", SOLE_USERS)
def test_a_boundary_library_has_one_importer(library, packages):
    mine = {name: tree for name, tree in packages.items() if top(name) == "citemark_service"}
    users = [n for n, tree in mine.items() if library in map(top, imports(n, tree, packages))]
    assert users == [SOLE_USERS[library]]


def reads_environment(tree: ast.Module) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and bool(ENVIRONMENT & {a.name for a in node.names}))
        for node in ast.walk(tree)
    )


def test_settings_alone_reads_the_environment(packages):
    readers = [name for name, tree in packages.items() if reads_environment(tree)]
    assert readers == ["citemark_service.settings", "citemark_grpo.settings"]


def test_importing_a_module_builds_no_app(packages):
    maker = re.compile(r"\b(FastAPI|Starlette|Citemark|create_app)\(")
    built = [
        (name, ast.unparse(statement))
        for name, tree in packages.items()
        for statement in tree.body
        if not hasattr(statement, "body") and maker.search(ast.unparse(statement))
    ]
    assert built == []
