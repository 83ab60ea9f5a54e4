"""Stacks of layers, with directions and dropout between them: over time and step by step.

May import `_cells` and `_scan`.
"""
