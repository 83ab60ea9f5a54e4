"""Experiments with gru_jax from config files: ``python -m experiments train configs/quickstart.yaml``."""
