"""The version of the package, which it marks the files that it writes with."""

__version__ = "0.1.0"
