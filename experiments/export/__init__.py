"""The model of a finished run, read-out included, in files that run without this package.

`request` says what can be exported and needs no JAX; `run` loads the parameters and writes the files.
May import `config`, `models`, `runs`, `system`, `tasks` and `training`.
"""
