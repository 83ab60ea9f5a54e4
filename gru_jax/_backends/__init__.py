"""Floor 1: ways to run a cell over time, one a file, all of one signature; they do not know each other."""
