"""Motions: of people with a smart watch, and of a robot's arm."""
