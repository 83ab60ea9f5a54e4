"""Measured series, and forecasts of them."""
