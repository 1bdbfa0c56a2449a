"""Trainers' own protocols over the one scoring pipeline.

`dialect.py` says what a dialect is: a pure translation, one small module each. `engine.py` is
what all of them share: bounds, deadlines, what stands in for a failed judgement, and answers
whose client left.
"""
