"""`python -m citemark_service` is the command line `citemark`."""

from citemark_service.cli import main

main(prog_name="citemark")
