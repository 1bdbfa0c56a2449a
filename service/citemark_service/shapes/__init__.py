"""Rows of public data sets as Citemark's own fields.

`table.SHAPES` lists the shapes: how a row of each is recognised, and how it is read. Pure; nothing
here reads a file. What a row cannot be read for raises `ValueError`, which names the column.
"""
