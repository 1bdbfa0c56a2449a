"""The data sets of the trainers that Citemark serves: what each carries where, checked, converted.

A trainer is one `Trainer` in the module of its name; `table.TRAINERS` lists them. Nothing else
knows a trainer by name. The layouts are pure; `files`, `parquet` and `round_trip` do the I/O.
"""
