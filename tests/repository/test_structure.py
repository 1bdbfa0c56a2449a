"""What keeps the tree readable: no circles, distinct class names, verbs for functions.

Bounds that push both ways: a function may be too long (`test_size`), and a helper too small.
"""

import ast
import graphlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import pytest

from repository.test_imports import imports
from repository.test_size import functions

Modules = Mapping[str, ast.Module]

SINGLE_USE = 0.28
"""Share of functions that are private and used once; well-kept code bases have .03 to .28."""
PARTICIPLES = re.compile(
    r"_*(?:[a-z]+ed|[a-z]*(?:told|found|kept|said|sent|given|made|held|shown"
    r"|left|lost|known|taken|written|chosen|drawn|begun|seen|heard|built))"
)
VERBS = {"feed", "embed", "seed", "need", "exceed", "proceed", "succeed"}


def room(name: str, package: str) -> str:
    """The folder or module of a package that a dotted name belongs to."""
    inside = name.removeprefix(f"{package}.")
    return inside.partition(".")[0]


def dependencies(modules: Modules) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for name, tree in modules.items():
        used = {imported for imported in imports(name, tree, modules) if imported in modules}
        # `from package import module` names the package as well, which need not do anything.
        parents = {used_name.rpartition(".")[0] for used_name in used}
        graph[name] = used - parents - {name}
    return graph


@pytest.mark.parametrize("package", ["citemark_service", "citemark_grpo"])
def test_no_circle_of_packages(package, packages):
    graph: dict[str, set[str]] = defaultdict(set)
    for name, used in dependencies(packages).items():
        if name.startswith(f"{package}."):
            rooms = {room(each, package) for each in used if each.startswith(f"{package}.")}
            graph[room(name, package)] |= rooms - {room(name, package)}
    assert graph
    graphlib.TopologicalSorter(graph).prepare()  # a `CycleError` names the circle


def test_no_circle_of_modules(packages):
    graphlib.TopologicalSorter(dependencies(packages)).prepare()


def test_a_class_name_means_one_thing(packages):
    places: dict[str, list[str]] = defaultdict(list)
    for name, tree in packages.items():
        if name.startswith("citemark_service"):
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    places[node.name.lstrip("_")].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def is_property(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {getattr(each, "id", getattr(each, "attr", "")) for each in function.decorator_list}
    return bool(names & {"property", "cached_property", "setter"})


def participles(tree: ast.Module) -> Iterator[str]:
    """Functions whose whole name is a participle, which says what is there and not what is done."""
    for function in functions(tree):
        bare = function.name.lstrip("_")
        if PARTICIPLES.fullmatch(function.name) and bare not in VERBS and not is_property(function):
            yield f"{function.lineno} {function.name}"


def test_no_function_is_named_by_a_bare_participle(packages):
    found = {name: list(participles(tree)) for name, tree in packages.items()}
    assert {name: bad for name, bad in found.items() if bad} == {}


def single_use(tree: ast.Module) -> list[str]:
    """Private functions that their module names once beside the definition."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    private = [each.name for each in functions(tree) if re.match(r"_[a-z]", each.name)]
    return [name for name in private if uses[name] == 1]


def test_few_functions_are_helpers_that_are_used_once(packages, record_property):
    every = sum(len(list(functions(tree))) for tree in packages.values())
    single = sum(len(single_use(tree)) for tree in packages.values())
    record_property("size", f"{single} of {every} functions are private and used once")
    assert single / every <= SINGLE_USE
