"""The optimiser of a config, as one optax transformation."""

from typing import TYPE_CHECKING

import optax

if TYPE_CHECKING:
    from experiments.config.schema import OptimizerConfig


def learning_rate_schedule(config: "OptimizerConfig", steps: int) -> optax.Schedule:
    """Learning rate at update 0, 1, ..., ``steps - 1``.

    It rises along a line over ``warmup_steps`` updates. Then it stays, or falls along a line or half a cosine; update
    ``steps`` would be the first to have ``learning_rate * final_scale``.
    """
    peak, rest = config.learning_rate, steps - config.warmup_steps
    match config.schedule:
        case "constant":
            after = optax.constant_schedule(peak)
        case "linear":
            after = optax.linear_schedule(peak, peak * config.final_scale, rest)
        case "cosine":
            after = optax.cosine_decay_schedule(peak, rest, alpha=config.final_scale)
    if not config.warmup_steps:
        return after
    # The rise begins above 0, so that no update is wasted: peak * 1/(n+1), 2/(n+1), ..., n/(n+1), then the peak.
    rise = optax.linear_schedule(peak / (config.warmup_steps + 1), peak, config.warmup_steps)
    return optax.join_schedules([rise, after], [config.warmup_steps])


def build_optimizer(config: "OptimizerConfig", steps: int) -> optax.GradientTransformation:
    """Clipping by global norm (if asked for), then the optimiser with its schedule over ``steps`` updates."""
    schedule = learning_rate_schedule(config, steps)
    match config.name:
        case "adam":
            optimizer = optax.adam(schedule)
        case "adamw":
            optimizer = optax.adamw(schedule, weight_decay=config.weight_decay)
        case "sgd":
            optimizer = optax.sgd(schedule, momentum=config.momentum or None)
        case "rmsprop":
            optimizer = optax.rmsprop(schedule)
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
