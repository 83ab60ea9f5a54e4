"""The models of configs, as linen modules over gru_jax. May import `config`, `system` and `tasks`."""
