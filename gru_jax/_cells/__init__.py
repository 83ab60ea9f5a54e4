"""Floor 0: the record of a cell, the equations, their initialisers and what they check of their input."""
