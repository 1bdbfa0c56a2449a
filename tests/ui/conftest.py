"""A service with a ledger that the pages' tests share."""

from collections.abc import Iterator

import httpx
import pytest

from support.examples import EXAMPLE_ROWS
from support.hostile_rollouts import PAYLOADS, hostile
from support.ledger_service import Document, kept_service, page, score


@pytest.fixture(scope="session")
def examples() -> list[dict]:
    return EXAMPLE_ROWS


@pytest.fixture(scope="session")
def pages(tmp_path_factory, examples) -> Iterator[httpx.Client]:
    """Three steps of the examples as run `demo`, the hostile ones, and one without a run."""
    with kept_service(tmp_path_factory.mktemp("ledger")) as client:
        for step in (1, 2, 3):
            score(client, examples, run="demo", step=step)
        attack = [hostile(number) for number in range(len(PAYLOADS))]
        score(client, attack, run="run " + "".join(PAYLOADS)[:240], step=1)
        score(client, examples[:1])
        yield client


@pytest.fixture(scope="session")
def attacked(pages) -> list[tuple[str, Document]]:
    """Every page on which the hostile rollouts' texts stand, by its address."""
    first = page(pages, "")
    run = next(link for link in first.links if "script" in link)
    addresses = [run, *(f"{run}&show={name}" for name in ("citation", "siblings", "addressed"))]
    addresses += [link for link in page(pages, run).links if link.startswith("step?")]
    links = dict.fromkeys(page(pages, addresses[-1]).links)
    addresses += [link for link in links if link.startswith(("group?", "rollout?"))]
    addresses += [link.replace("rollout", "judge", 1) for link in links if "rollout?" in link]
    found = [("", first), *((address, page(pages, address)) for address in addresses)]
    assert len(found) > 3 * len(PAYLOADS)
    return found
