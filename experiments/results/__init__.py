"""What runs and comparisons reached: read from their files, as tables, pages and plots.

May import `config`, `runs`, `system`, `tasks` and `training`.
"""
