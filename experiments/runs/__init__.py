"""A run on disk: its config, its directory, its checkpoints and its metrics.

May import `config`, `system` and `tasks`.
"""
