"""The record of a cell, the equations, their initialisers, and what they check of their input.

May import no other room.
"""
