"""The version of the package, which also stands in the files that it writes."""

__version__ = "0.1.0"
