"""What a config stands for: the task, the model, the state of training, and one step of training."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import tasks
from experiments.models.backend import FirstLayer, backend_taken, first_layer
from experiments.models.build import build_model
from experiments.runs.config import Config
from experiments.tasks import Batch, Task
from experiments.training import losses
from experiments.training.optimizers import build_optimizer, learning_rate_schedule


class Divergence(NamedTuple):
    """The first step with a number that is not finite, counted from 1, and its values; 0: there is none. Scalars."""

    step: jax.Array
    loss: jax.Array
    grad_norm: jax.Array


class Best(NamedTuple):
    """The parameters with the best value of the task's first metric on the validation split so far."""

    params: Any
    value: jax.Array
    step: jax.Array


class TrainState(NamedTuple):
    """All that a run carries from step to step: restoring it goes on as if nothing had happened."""

    step: jax.Array
    """int32 scalar: how many steps are done."""
    params: Any
    opt_state: Any
    loss_sum: jax.Array
    """float32 scalar: losses of the steps since the last row of metrics, summed; `grad_norm_sum` likewise."""
    grad_norm_sum: jax.Array
    divergence: Divergence
    best: Best | None
    """None unless training.keep_best."""

    def forget_sums(self) -> "TrainState":
        """The same state, with nothing summed yet for the next row of metrics."""
        return self._replace(loss_sum=jnp.float32(0), grad_norm_sum=jnp.float32(0))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config with the objects that it describes."""

    config: Config
    task: Task
    model: Any
    """What `build_model` returns."""
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    """Learning rate at update 0, 1, ..."""

    @functools.cached_property
    def first_layer(self) -> FirstLayer:
        """The first recurrent layer, on a batch of training."""
        return first_layer(self.model, self.train_batch(1).inputs)

    def train_batch(self, step: int) -> Batch:
        """The batch of training step ``step``, the first being 1."""
        return self.task.train_batch(self.config.seed, step, self.config.training.batch_size)

    def initial_state(self) -> TrainState:
        """The state before step 1, a function of the config alone."""
        key, _ = _keys(self.config.seed)
        batch = self.train_batch(1)
        return self.state_before_training(
            jax.jit(self.model.init)(key, jax.tree.map(lambda leaf: leaf[:1], batch.inputs))
        )

    def state_before_training(self, params: Any) -> TrainState:
        """The state before step 1 with these parameters."""
        number = self.task.metrics[0]
        worst = math.inf if losses.BETTER[number] == "lower" else -math.inf
        best = Best(params, jnp.float32(worst), jnp.int32(0)) if self.config.training.keep_best else None
        zero = jnp.float32(0)
        return TrainState(
            jnp.int32(0), params, self.optimizer.init(params), zero, zero, Divergence(jnp.int32(0), zero, zero), best
        )

    def step_function(self) -> Callable[[TrainState, Batch], TrainState]:
        """One step of training, as a function to compile; its dropout depends on the seed and the step alone."""
        _, dropout_key = _keys(self.config.seed)

        def step(state: TrainState, batch: Batch) -> TrainState:
            key = jax.random.fold_in(dropout_key, state.step)

            def loss_of(params: Any) -> jax.Array:
                outputs: Any = self.model.apply(
                    params, batch.inputs, batch.seq_lengths, deterministic=False, rngs={"dropout": key}
                )
                targets, weights = jnp.asarray(batch.targets), jnp.asarray(batch.weights)
                return losses.mean_loss(self.task.loss, outputs, targets, weights)

            loss, grads = jax.value_and_grad(loss_of)(state.params)
            grad_norm = optax.tree.norm(grads)
            # Optax counts steps in integers, and mixes them with floats.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
                params = optax.apply_updates(state.params, updates)
            finite = jnp.isfinite(loss + grad_norm + optax.tree.norm(params))
            here = Divergence(state.step + 1, loss, grad_norm)
            first = ~finite & (state.divergence.step == 0)
            return state._replace(
                step=state.step + 1,
                params=params,
                opt_state=opt_state,
                loss_sum=state.loss_sum + loss,
                grad_norm_sum=state.grad_norm_sum + grad_norm,
                divergence=jax.tree.map(lambda new, old: jnp.where(first, new, old), here, state.divergence),
            )

        return step

    def parameters_to_report(self, state: TrainState) -> tuple[Any, str]:
        """The parameters to evaluate on the test split, and which they are: "final" or "best"."""
        return (state.params, "final") if state.best is None else (state.best.params, "best")

    def keep_if_best(self, state: TrainState, validation: dict[str, float]) -> TrainState:
        """``state``, with its parameters as the best ones if ``validation`` is better; unchanged without a ``best``."""
        if state.best is None:
            return state
        name = self.task.metrics[0]
        value, best = jnp.float32(validation[name]), state.best.value
        better = value < best if losses.BETTER[name] == "lower" else value > best
        return state._replace(best=Best(state.params, value, state.step)) if better else state


def assemble(config: Config) -> Experiment:
    """Load the data and build the rest.

    Raises UserError if the data is missing, the model does not suit the task, or its backend cannot run it here.
    """
    task = tasks.build(config.task)
    steps = config.training.steps
    experiment = Experiment(
        config=config,
        task=task,
        model=build_model(config.model, task),
        optimizer=build_optimizer(config.optimizer, steps),
        schedule=learning_rate_schedule(config.optimizer, steps),
    )
    backend_taken(experiment.first_layer)
    return experiment


def count_parameters(params: Any) -> int:
    """How many numbers there are to learn."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    initial, dropout = jax.random.split(jax.random.key(seed))
    return initial, dropout
