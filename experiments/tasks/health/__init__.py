"""Patients over their visits, with values missing."""
