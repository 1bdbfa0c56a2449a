"""The OpenAPI document of the service, and the file that holds what was agreed on.

`PYTHONPATH=tests python -m support.openapi_document` writes the file anew; review the difference
as a contract.
"""

import json
from pathlib import Path
from typing import Any

from citemark_rubrics import load_library
from citemark_service.app import create_app
from citemark_service.settings import Settings
from support.gated_judge import GatedJudge

SNAPSHOT = Path(__file__).parents[1] / "contract" / "openapi.json"


def document() -> dict[str, Any]:
    """What `/openapi.json` answers."""
    app = create_app(settings=Settings(), judge=GatedJudge(), library=load_library())
    schema: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return schema


if __name__ == "__main__":
    text = json.dumps(document(), indent=2, ensure_ascii=False)
    SNAPSHOT.write_text(text + "\n", encoding="utf-8")
