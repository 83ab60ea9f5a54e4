"""The floors that tasks hold as constants, measured again: one file for each task. May import `system` and `tasks`.

Each has the CONFIG of its task, and `measure`, which yields `MeasuredFloor` figures; a NOTE where there is more to say.
Floors that are computed when their task is built need none of this. ``python -m experiments.floors``, see `cli`.
"""
