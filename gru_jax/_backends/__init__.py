"""Ways to run a cell over time, which do not know each other, and the seam for kernels. May import `_cells`."""
