"""Style, scripts and the charting library, as they lie in the package."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

_FOLDER: Final = "citemark_service.web.ui"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load."""

    content: bytes
    media_type: str
    tag: str
    """Its entity tag: another one where the content is another."""


def assets() -> Mapping[str, Asset]:
    """Every file of the folder by name; nothing else can be asked for."""
    folder = resources.files(_FOLDER) / "assets"
    return {file.name: _asset(file.name, file.read_bytes()) for file in folder.iterdir()}


def _asset(name: str, content: bytes) -> Asset:
    suffix = name[name.rindex(".") :]
    tag = hashlib.blake2b(content, digest_size=8).hexdigest()
    return Asset(content, _TYPES[suffix], f'"{tag}"')
