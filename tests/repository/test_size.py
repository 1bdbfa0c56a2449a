"""Modules of at most 400 lines, function bodies of at most 60; ruff bounds nesting and branches."""

import ast
import statistics
from collections.abc import Iterator

MODULE_LINES = 400
BODY_LINES = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the last, blank ones included."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def spread(lines: list[int], what: str) -> str:
    ninetieth = statistics.quantiles(lines, n=10)[8]
    return (
        f"{len(lines)} {what} of {sum(lines)} lines, "
        f"median {statistics.median(lines):.0f}, p90 {ninetieth:.0f}, most {max(lines)}"
    )


def test_no_module_is_longer_than_400_lines(root, trees, record_property):
    lines = {path: len((root / path).read_bytes().splitlines()) for path in trees}
    assert {path: n for path, n in lines.items() if n > MODULE_LINES} == {}
    record_property("size", spread(list(lines.values()), "modules"))


def test_no_function_body_is_longer_than_60_lines(trees, record_property):
    bodies = {
        f"{path}:{function.lineno} {function.name}": body_lines(function)
        for path, tree in trees.items()
        for function in functions(tree)
    }
    assert {where: n for where, n in bodies.items() if n > BODY_LINES} == {}
    record_property("size", spread(list(bodies.values()), "function bodies"))
