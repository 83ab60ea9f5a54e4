"""Images read in pieces."""
