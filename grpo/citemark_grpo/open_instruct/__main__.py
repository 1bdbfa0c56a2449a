"""`python -m citemark_grpo.open_instruct SCRIPT …`: open-instruct, which finds our verifier.

The package was imported on the way here, which is all that open-instruct needs to find it.
"""

import runpy
import sys

from citemark_grpo.settings import load_settings


def main() -> None:
    """Run `sys.argv[1]` as if it had been called directly.

    Raises:
        SettingsError: no URL is set, or a setting is wrong; before a model is loaded.
    """
    if len(sys.argv) < 2:
        sys.exit("usage: python -m citemark_grpo.open_instruct open_instruct/grpo_fast.py …")
    load_settings()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
