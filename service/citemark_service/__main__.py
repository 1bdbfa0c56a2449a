"""The command line `citemark`, as the script and as `python -m citemark_service`."""

import sys

_EXTRA = "citemark needs its service extra: pip install 'citemark[service]'"


def main() -> None:
    """Run the command line, or exit with 2 where the service extra is not installed."""
    try:
        from citemark_service import cli  # noqa: PLC0415 - it is what may be missing

        cli.main(prog_name="citemark")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("citemark"):
            # A defect of this package, and no missing extra.
            raise
        sys.stderr.write(f"{_EXTRA} ({error.name} is missing)\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
