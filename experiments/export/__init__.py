"""Exporting the model of a finished run, read-out included, to run without this package.

`request` says what can be exported and needs no JAX; `run` loads the parameters and writes the files.
"""
