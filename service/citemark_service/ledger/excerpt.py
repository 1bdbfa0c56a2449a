"""The few fields of a kept detail that compare many rollouts, without reading the rest. Pure."""

import zlib
from typing import Final

import msgspec


class KeptRubric(msgspec.Struct, frozen=True):
    """What is kept of one criterion's part in a reward; see `RubricScore`."""

    title: str
    polarity: str
    source: str
    score: float
    weight: float


class KeptClaim(msgspec.Struct, frozen=True):
    """What is kept of one claim; see `ClaimScore`."""

    text: str
    support: float | None = None
    fabricated: tuple[str, ...] = ()


class Verdicts(msgspec.Struct, frozen=True):
    """What a judge made of one rollout."""

    rubrics: tuple[KeptRubric, ...] = ()
    claims: tuple[KeptClaim, ...] = ()


class _Detail(msgspec.Struct):
    result: Verdicts


_DETAIL: Final = msgspec.json.Decoder(_Detail)


def verdicts_of(detail: bytes) -> Verdicts:
    """The verdicts in a stored detail.

    Raises:
        ValueError, zlib.error: it is none.
    """
    return _DETAIL.decode(zlib.decompress(detail)).result
