"""Addresses between the pages. Pure.

All are relative and all pages are siblings, so that they hold behind any prefix: a proxy's, or
the token's (`/t/TOKEN/ui/`). What a caller named stands in the query only, percent-encoded.
"""

from urllib.parse import urlencode


def _address(page: str, **query: object) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{page}?{urlencode(given, errors='replace')}" if given else page


def runs() -> str:
    """The first page."""
    return "./"


def run(name: str, *, show: str | None = None, before: int | None = None) -> str:
    """A run, under a filter, its steps from below `before`."""
    return _address("run", run=name, show=show, before=before)


def step(name: str, number: int, *, sort: str | None = None) -> str:
    """A step of a run."""
    return _address("step", run=name, step=number, sort=sort)


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
