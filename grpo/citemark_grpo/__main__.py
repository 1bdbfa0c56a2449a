"""The command line `citemark-grpo`, as the script and as `python -m citemark_grpo`."""

import sys

_EXTRA = "citemark-grpo needs its train extra: pip install 'citemark[train]'"


def main() -> None:
    try:
        from citemark_grpo.training import cli  # noqa: PLC0415 - it is what may be missing

        cli.main(prog_name="citemark-grpo")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("citemark"):
            raise  # a defect of this package, not a missing extra
        sys.stderr.write(f"{_EXTRA} ({error.name} is missing)\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
