"""Words that several commands say of their own."""


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`: for nouns that an s makes plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
