"""The floors that tasks hold as constants, measured again: one file for each task. May import `system` and `tasks`.

Each file has the CONFIG of its task, `measure`, which yields `MeasuredFloor` figures, and a NOTE if more is to be said.
Floors that are computed when their task is built have no file. Run ``python -m experiments.floors``; see `cli`.
"""
