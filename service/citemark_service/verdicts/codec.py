"""A verdict without its rollout's ids, and as bytes.

What is kept under a key must not depend on the ids that some rollout used for its sources, so
there a `ClaimVerdict` names them "0", "1", … in the order of the key's texts.
"""

from typing import Final

from pydantic import TypeAdapter, ValidationError

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.verdicts.keys import Item, Verdict

_ADAPTERS: Final[dict[type[Verdict], TypeAdapter[Verdict]]] = {
    CriterionVerdict: TypeAdapter[Verdict](CriterionVerdict),
    ClaimVerdict: TypeAdapter[Verdict](ClaimVerdict),
    SentenceVerdict: TypeAdapter[Verdict](SentenceVerdict),
}


class Unusable(ValueError):
    """These bytes are no verdict on this item."""


def placed(item: Item, verdict: Verdict) -> Verdict:
    """The verdict with positions for the item's ids."""
    if not isinstance(verdict, ClaimVerdict) or not verdict.contributing:
        return verdict
    places = {name: str(place) for place, name in enumerate(item.ids)}
    return _renamed(verdict, places)


def named(item: Item, verdict: Verdict) -> Verdict:
    """The verdict with the item's ids for positions."""
    if not isinstance(verdict, ClaimVerdict) or not verdict.contributing:
        return verdict
    names = {str(place): name for place, name in enumerate(item.ids)}
    return _renamed(verdict, names)


def encode(item: Item, verdict: Verdict) -> bytes:
    """A placed verdict as its own JSON."""
    return _ADAPTERS[item.shape].dump_json(verdict)


def decode(item: Item, value: bytes) -> Verdict:
    """The placed verdict in `value`.

    Raises:
        Unusable: not JSON, of another shape, out of range, or on another number of sources.
    """
    try:
        verdict = _ADAPTERS[item.shape].validate_json(value)
    except ValidationError as error:
        raise Unusable(f"{error.error_count()} errors in a kept verdict") from error
    if isinstance(verdict, ClaimVerdict) and not _covers(verdict, len(item.ids)):
        raise Unusable("a kept verdict on another number of sources")
    return verdict


def _covers(verdict: ClaimVerdict, sources: int) -> bool:
    """A single source may go unnamed: it contributes whatever the judge says."""
    places = set(verdict.contributing)
    return places == set(map(str, range(sources))) or (not places and sources <= 1)


def _renamed(verdict: ClaimVerdict, names: dict[str, str]) -> ClaimVerdict:
    shares = {names[name]: share for name, share in verdict.contributing.items()}
    # A third of the time that `model_copy` takes.
    return ClaimVerdict(
        support=verdict.support, substantive=verdict.substantive, contributing=shares
    )
