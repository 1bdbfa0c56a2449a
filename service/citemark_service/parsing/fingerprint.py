"""Texts as bytes and as a hash. Pure."""

import hashlib
from typing import Final

_BYTES: Final = 32


def frame_texts(*texts: str | None) -> bytes:
    """The texts in one piece that no other texts, however divided, make; None is not empty."""
    pieces = ["-" if text is None else f"{len(text)}:{text}" for text in texts]
    return "".join(pieces).encode(errors="surrogatepass")


def fingerprint(*texts: str) -> bytes:
    """BLAKE2b over texts: no other texts, however divided, give the same 32 bytes."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for text in texts:  # one by one, since sources may be megabytes: no joined copy is made
        data = text.encode(errors="surrogatepass")
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()
