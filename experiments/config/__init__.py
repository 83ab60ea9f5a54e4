"""Config files and dotted overrides: read, merged, checked, and explained where they are wrong. May import `system`.

Nothing here imports JAX.
"""
