"""One cell over time, with its masks, restarts and checks, and the choice of a backend.

May import `_backends` and `_cells`.
"""
