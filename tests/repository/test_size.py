"""Modules of at most 400 lines, function bodies of at most 60, at most three levels of nesting."""

import ast
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

MODULE_LINES = 400
BODY_LINES = 60
NESTING = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_BLOCKS = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar,
    ast.Match,
)  # fmt: skip


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the last, blank ones included."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def nesting(node: ast.AST) -> int:
    """Deepest stack of blocks inside `node`; an `elif` is on the level of its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            continue
        inside = nesting(child)
        deepest = max(deepest, inside + (isinstance(child, _BLOCKS) and not _is_elif(node, child)))
    return deepest


def _is_elif(parent: ast.AST, child: ast.AST) -> bool:
    return isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]


def spread(lines: list[int], what: str) -> str:
    """One phrase: count, sum, median, ninetieth percentile and largest."""
    ninetieth = statistics.quantiles(lines, n=10)[8]
    return (
        f"{len(lines)} {what} of {sum(lines)} lines, "
        f"median {statistics.median(lines):.0f}, p90 {ninetieth:.0f}, most {max(lines)}"
    )


def test_no_module_is_longer_than_400_lines(
    root: Path,
    trees: Mapping[Path, ast.Module],
    record_property: Callable[[str, object], None],
) -> None:
    lines = {path: len((root / path).read_bytes().splitlines()) for path in trees}
    assert {path: n for path, n in lines.items() if n > MODULE_LINES} == {}
    record_property("size", spread(list(lines.values()), "modules"))


def test_no_function_body_is_longer_than_60_lines(
    trees: Mapping[Path, ast.Module], record_property: Callable[[str, object], None]
) -> None:
    bodies = {
        f"{path}:{function.lineno} {function.name}": body_lines(function)
        for path, tree in trees.items()
        for function in functions(tree)
    }
    assert {where: n for where, n in bodies.items() if n > BODY_LINES} == {}
    record_property("size", spread(list(bodies.values()), "function bodies"))


def test_no_function_nests_deeper_than_three_blocks(trees: Mapping[Path, ast.Module]) -> None:
    deep = {
        f"{path}:{function.lineno} {function.name}": nesting(function)
        for path, tree in trees.items()
        for function in functions(tree)
        if nesting(function) > NESTING
    }
    assert deep == {}


def test_the_measures_count_what_they_should() -> None:
    documented = 'def f():\n    """One.\n\n    Two.\n    """\n    x = (\n    1)\n\n    return x\n'
    (function,) = functions(ast.parse(documented))
    assert body_lines(function) == 4
    source = """
def f(xs):
    if xs:
        pass
    elif len(xs) == 1:
        for x in xs:
            with x:
                pass
    def g():
        while True:
            try:
                pass
            finally:
                if xs:
                    match xs:
                        case _: pass
"""
    assert {f.name: nesting(f) for f in functions(ast.parse(source))} == {"f": 3, "g": 4}
