"""Data sets and routes of the trainers that Citemark serves.

Each trainer is one `Trainer` in the module of its name, listed in `table.TRAINERS`; no other code
depends on a trainer's name. Only `files`, `parquet` and `round_trip` do I/O.
"""
