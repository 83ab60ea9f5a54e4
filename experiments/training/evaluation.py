"""The metrics of a model on a whole split."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.tasks import Assessment, Batch
from experiments.training import losses
from experiments.training.ahead_of_time import compiled
from experiments.training.experiment import Experiment
from experiments.training.trained import restore_trained

_CONFUSION = "confusion"


class Evaluator:
    """Evaluates parameters on splits; compiles once for each shape of batch, and counts the time of that apart."""

    def __init__(self, experiment: Experiment):
        """Compile nothing yet."""
        self._experiment = experiment
        self._compiled: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def __call__(self, params: Any, split: str) -> dict[str, float]:
        """The metrics of the task on ``split``, "validation" or "test"."""
        return self._metrics(self._sums(params, split))

    def with_confusion(self, params: Any, split: str) -> tuple[dict[str, float], list[list[int]] | None]:
        """As a call, with the number of rows by true class (first index) and predicted class; None without classes."""
        summed = self._sums(params, split)
        confusion = summed.get(_CONFUSION)
        return self._metrics(summed), None if confusion is None else np.rint(confusion).astype(int).tolist()

    def assess(self, params: Any) -> Assessment | None:
        """What the task makes of all its test rows and the model's outputs for them; None if it asks for nothing."""
        task = self._experiment.task
        if task.assess is None:
            return None

        def outputs(params: Any, batch: Batch) -> Any:
            return self._experiment.model.apply(params, batch.inputs, batch.seq_lengths, method=task.predict)

        def pairs() -> Iterator[tuple[Batch, Any]]:
            for batch in self._batches("test"):
                yield batch, jax.tree.map(np.asarray, self._compiled_for(outputs, params, batch)(params, batch))

        return task.assess(pairs())

    def prepare(self, params: Any, split: str) -> None:
        """Compile for the batches of ``split``."""
        self._compiled_for(self._batch_sums, params, next(iter(self._batches(split))))

    def _batches(self, split: str) -> Any:
        return self._experiment.task.split_batches(split, self._experiment.config.training.eval_batch_size)

    def _metrics(self, summed: dict[str, np.ndarray]) -> dict[str, float]:
        sums = {name: float(value) for name, value in summed.items() if name != _CONFUSION}
        task = self._experiment.task
        return losses.metrics(task.metrics, sums, task.scale)

    def _sums(self, params: Any, split: str) -> dict[str, np.ndarray]:
        """Sums over the split in float64; the device computes one batch while the next is being made."""
        total: dict[str, np.ndarray] = {}
        waiting: list[dict[str, jax.Array]] = []

        def collect() -> None:
            for name, value in waiting.pop(0).items():
                total[name] = total.get(name, np.float64(0)) + np.asarray(value, np.float64)

        for batch in self._batches(split):
            waiting.append(self._compiled_for(self._batch_sums, params, batch)(params, batch))
            if len(waiting) > 1:
                collect()
        while waiting:
            collect()
        return total

    def _compiled_for(self, function: Callable[[Any, Batch], Any], params: Any, batch: Batch) -> Any:
        leaves, structure = jax.tree.flatten(batch)
        shapes = (function.__name__, structure, *((leaf.shape, str(leaf.dtype)) for leaf in leaves))
        if shapes not in self._compiled:
            start = time.monotonic()
            self._compiled[shapes] = compiled(function, params, batch)
            self.compile_seconds += time.monotonic() - start
        return self._compiled[shapes]

    def _batch_sums(self, params: Any, batch: Batch) -> dict[str, jax.Array]:
        task = self._experiment.task
        outputs: Any = self._experiment.model.apply(params, batch.inputs, batch.seq_lengths)
        targets, weights = jnp.asarray(batch.targets), jnp.asarray(batch.weights)
        summed = losses.sums(task.loss, outputs, targets, weights)
        if task.class_names and not task.per_step:
            classes = len(task.class_names)
            true = jax.nn.one_hot(targets, classes) * weights[:, None]
            summed[_CONFUSION] = true.T @ jax.nn.one_hot(jnp.argmax(outputs, axis=-1), classes)
        return summed


def evaluate_checkpoint(
    config: Config, directory: RunDirectory, split: str
) -> tuple[int, str, dict[str, float], dict[str, float]]:
    """Evaluate the last checkpoint of a run on ``split``, writing nothing.

    Returns the step of the parameters, whether they are the "final" or the "best" ones, the metrics, and the floor of
    the test split. Raises UserError if there is no checkpoint, the last one is damaged, or the data is not the run's.
    """
    experiment, params, step, origin = restore_trained(config, directory)
    evaluator = Evaluator(experiment)
    metrics = evaluator(params, split)
    assessment = evaluator.assess(params) if split == "test" else None
    if assessment is not None:
        metrics |= assessment.metrics
    return step, origin, metrics, dict(experiment.task.floor)
