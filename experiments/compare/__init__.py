"""One task learnt by several cells, at equal width and at equal parameters, over several seeds.

May import `config`, `models`, `results`, `runs`, `system`, `tasks` and `training`.
"""
