"""Ways to run a cell over time, one a file, all of one signature; they do not know each other. May import `_cells`."""
