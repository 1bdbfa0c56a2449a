"""`python -m citemark_grpo.open_instruct SCRIPT …`: runs open-instruct, which finds our verifier
because running this module has imported the package.
"""

import runpy
import sys

from citemark_grpo.settings import load_settings


def main() -> None:
    """Run `sys.argv[1]` as if it had been called directly."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m citemark_grpo.open_instruct open_instruct/grpo_fast.py …")
    load_settings()  # raises before a model is loaded
    del sys.argv[0]  # the script expects itself there
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
