"""The OpenAPI document of the service, and the file that holds what was agreed on.

`PYTHONPATH=tests python -m support.openapi_document` writes the file anew; review the difference
as a contract.
"""

import json
from pathlib import Path
from typing import Any

from citemark_service.settings import Settings
from support.scripted_service import real_app

SNAPSHOT = Path(__file__).parents[1] / "contract" / "openapi.json"


def document() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(json.dumps(real_app(Settings()).openapi()))
    return schema


if __name__ == "__main__":
    text = json.dumps(document(), indent=2, ensure_ascii=False)
    SNAPSHOT.write_text(text + "\n", encoding="utf-8")
