"""From a config to a finished run, and back from a run to its trained model.

May import `config`, `models`, `runs`, `system` and `tasks`.
"""
