"""Names that say something, and nothing in the tree that belongs to one machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc|stuff|new|old|v\d+)(_|$)")

HOME = re.compile(r"(?<![\w.)}/-])/(?:home|Users|root|work|workspace)/\w[\w.-]*")
REGISTRY = re.compile(
    r"file://|find-links|index-url|pythonhosted\.org|(?:test\.)?pypi\.org/simple|"
    r"registry\.(?:npmjs|yarnpkg)\."
)
LOCKS = re.compile(r"(^|[-.])lock(\.(json|ya?ml|toml))?$|^npm-shrinkwrap\.json$")


def matches(pattern: re.Pattern[str], root: Path, paths: tuple[Path, ...]) -> Iterator[str]:
    for path in paths:
        text = (root / path).read_bytes().decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if found := pattern.search(line):
                yield f"{path}:{number}: {found.group()}"


def test_no_module_or_folder_has_a_vague_name(tracked):
    code = [path for path in tracked if path.suffix == ".py"]
    assert [path for path in code if any(VAGUE.search(Path(p).stem) for p in path.parts)] == []


@pytest.mark.parametrize("pattern", [HOME, REGISTRY], ids=["home", "registry"])
def test_no_file_names_a_path_of_some_machine_or_a_registry(root, tracked, pattern):
    # All but this file, which has to spell out what it looks for.
    others = tuple(path for path in tracked if path.name != Path(__file__).name)
    assert list(matches(pattern, root, others)) == []


def test_no_lock_file_is_kept(tracked):
    assert [path for path in tracked if LOCKS.search(path.name)] == []


def test_docker_holds_no_python(tracked):
    assert [path for path in tracked if path.parts[0] == "docker" and path.suffix == ".py"] == []
