"""The templates of prompts."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined


@lru_cache(maxsize=1)
def load_templates() -> tuple[Mapping[str, str], Environment]:
    """Each one's text by file name, and the environment that renders them."""
    folder = resources.files("citemark_service.judges.language") / "prompts"
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir()}
    return texts, Environment(
        loader=DictLoader(texts),
        autoescape=False,  # noqa: S701 - the output is a prompt; `neutral` is its escaping
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
