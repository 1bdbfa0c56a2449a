"""Names and addresses of the pages. Pure.

All addresses are relative and all pages are siblings, so that they hold behind any prefix: a
proxy's, or the token's (`/t/TOKEN/ui/`). What a caller named stands in the query only,
percent-encoded.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from citemark_service.ledger.entry import NO_RUN, NO_STEP

_FOLDER: Final = "/ui"
_PAGE: Final = re.compile(r"(?!login\b)[a-z]{0,16}(\?[!-~]{1,4096})?")
"""One of the pages with its query, as an address has it. It holds no slash before the query, and
so, behind `./`, can be taken for no other folder's or host's."""

_NO_QUESTIONS: Final[Mapping[str, str]] = MappingProxyType({})
_HEX: Final = frozenset("0123456789abcdef")
_TITLE: Final = 64


def is_page(path: str) -> bool:
    """Whether a path of the service is one of the pages', there or not."""
    return path == _FOLDER or path.startswith(f"{_FOLDER}/")


def way_back(raw_path: bytes) -> str:
    """What leads from any such path, as the browser knows it, to the folder of the pages."""
    below = raw_path.count(b"/") - _FOLDER.count("/") - 1
    return "../" * below if below >= 0 else "ui/"


def _address(page: str, **query: object) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{page}?{urlencode(given, errors='replace')}" if given else page


def asked(path: str, query: str) -> str:
    """What a path of the service and a query ask for, for `login` and `back_to`."""
    page = path.removeprefix(_FOLDER).removeprefix("/")
    return f"{page}?{query}" if query else page


def login(wanted: str = "") -> str:
    """The form for the token, which leads on to the page that was wanted, where it is one."""
    return _address("login", to=wanted if _PAGE.fullmatch(wanted) and wanted else None)


def back_to(wanted: str) -> str:
    """The page that was wanted; the first one where that is none."""
    return f"./{wanted}" if _PAGE.fullmatch(wanted) else runs()


def runs() -> str:
    """The first page."""
    return "./"


def run(name: str, *, show: str | None = None, before: int | None = None) -> str:
    """A run, under a filter, its steps from below `before`."""
    return _address("run", run=name, show=show, before=before)


def step(name: str, number: int, *, sort: str | None = None, show: str | None = None) -> str:
    """A step of a run, its rollouts in an order and of one outcome."""
    return _address("step", run=name, step=number, sort=sort, show=show)


def steps(name: str) -> str:
    """What `&step=N` is put behind, by a script that knows N."""
    return _address("step", run=name)


def group(name: str, number: int, key: str) -> str:
    """The samples of one prompt in a step."""
    return _address("group", run=name, step=number, group=key)


def rollout(seq: int) -> str:
    """One rollout."""
    return _address("rollout", n=seq)


def judge(seq: int) -> str:
    """What the judge was asked about a rollout and what it said."""
    return _address("judge", n=seq)


def paste() -> str:
    """The box to score a rollout."""
    return "score"


def run_title(run: str | None) -> str:
    """A run's name, or what stands for rollouts without one."""
    return "without a run" if run in (None, NO_RUN) else str(run)


def step_title(step: int | None) -> str:
    """A step's number, or what stands for none."""
    return "no step" if step in (None, NO_STEP) else f"step {step}"


def group_title(key: str, questions: Mapping[str, str] = _NO_QUESTIONS) -> str:
    """A group's own key; without one, how its question begins, or else its hash in short.

    Args:
        questions: by group key, of groups without a key of their own.
    """
    if key in questions:
        question = " ".join(questions[key].split())
        return f"{question[:_TITLE]}…" if len(question) > _TITLE else question
    return f"prompt {key[:8]}" if len(key) == 32 and set(key) <= _HEX else key


def trail(
    run_name: str | None = None, number: int | None = None, key: str | None = None
) -> list[tuple[str, str]]:
    """Addresses and names on the way from the first page to a run, a step or a group."""
    way = [(runs(), "Runs")]
    if run_name is not None:
        way.append((run(run_name), run_title(run_name)))
        if number is not None:
            way.append((step(run_name, number), step_title(number)))
            if key is not None:
                way.append((group(run_name, number, key), group_title(key)))
    return way
