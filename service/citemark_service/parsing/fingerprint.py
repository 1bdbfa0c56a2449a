"""Collision-free encodings and hashes of sequences of texts. Pure."""

import hashlib
from typing import Final

_BYTES: Final = 32


def frame_texts(*texts: str | None) -> bytes:
    """The texts as bytes; different sequences give different bytes, and None differs from ""."""
    pieces = ["-" if text is None else f"{len(text)}:{text}" for text in texts]
    return "".join(pieces).encode(errors="surrogatepass")


def fingerprint(*texts: str) -> bytes:
    """BLAKE2b, 32 bytes, over the texts and their lengths."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for text in texts:  # one by one: sources may be megabytes, and joining would copy them
        data = text.encode(errors="surrogatepass")
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()
