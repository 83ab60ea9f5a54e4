"""The cells: the record that a cell is, the equations, their initialisers, and the checks of their input.

May import no other room.
"""
