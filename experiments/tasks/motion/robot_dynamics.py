"""The robot dynamics task: the torques of a two-link arm from its motion, without accelerations.

The data is simulated, not measured: the equations of ``two_link_arm.py`` give the torques of random smooth motions. The
inputs are the angles and the joint speeds, which carry noise. Most of the torque depends on the acceleration, which has
to be inferred from the speeds of the past: without memory it cannot be known.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.tasks.inputs import Vectors
from experiments.tasks.motion.two_link_arm import Arm, motions, torque
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, generated

FEATURES = 6
"""sin and cos of both angles, both joint speeds."""
_JOINTS = ("shoulder", "elbow")
# The scale of the torques and the linear baseline come from these motions; no batch has their seed.
_REFERENCE_SEED, _REFERENCE_ROWS = 0, 200


class RobotDynamicsConfig(TaskBlock):
    """Motions of ``steps`` times, ``interval`` seconds apart."""

    per_step: ClassVar[bool] = True
    name: Literal["robot_dynamics"]
    steps: Annotated[int, Field(ge=2)] = 200
    interval: Annotated[float, Field(gt=0, le=0.1)] = 0.02
    noise: Annotated[float, Field(ge=0)] = 0.02
    """Standard deviation of the normal noise in each joint speed, rad/s."""
    validation_rows: Annotated[int, Field(gt=0)] = 200
    test_rows: Annotated[int, Field(gt=0)] = 500


def check_data(config: RobotDynamicsConfig) -> None:
    """Nothing to check: the data is simulated."""


def build(config: RobotDynamicsConfig) -> Task:
    """Build the task: inputs (B, steps, 6); targets (B, steps, 2), the torques over their standard deviations."""
    inputs, torques = _simulate(config, np.random.default_rng(_REFERENCE_SEED), _REFERENCE_ROWS)
    scale = torques.std(axis=(0, 1))
    rows = generated(
        functools.partial(_rows, config, scale), {"validation": config.validation_rows, "test": config.test_rows}
    )
    linear = _linear(inputs, torques)
    held_out = next(rows["split_batches"]("test", config.test_rows))
    predicted = linear(held_out.inputs)
    floor = {
        "mse": round(float(((held_out.targets - predicted / scale) ** 2).mean()), 4),
        **_errors(held_out.targets * scale, predicted),
    }
    past = _linear(_with_past(inputs), torques)
    with_past = _errors(held_out.targets * scale, past(_with_past(held_out.inputs)))
    return Task(
        name="robot_dynamics",
        inputs=Vectors(FEATURES),
        outputs=2,
        per_step=config.per_step,
        loss="squared_error",
        metrics=("mse",),
        floor=floor,
        floor_note=(
            f"linear regression on the same inputs, fitted to {_REFERENCE_ROWS} other motions; on those of this step "
            f"and the nine before it reaches R² {with_past['r2']}. mse is in variances of each torque, mae in N m"
        ),
        **rows,
        assess=functools.partial(_assess, scale),
        facts={"data": "simulated", "steps": config.steps, "torque_scale_n_m": scale.round(4).tolist()},
    )


def _simulate(config: RobotDynamicsConfig, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of ``count`` motions, (count, steps, 6), and their torques, (count, steps, 2) in N m."""
    q, qd, qdd = motions(rng, count, config.interval * np.arange(config.steps))
    torques = torque(Arm(), q, qd, qdd)
    seen = qd + config.noise * rng.standard_normal(qd.shape)
    return np.concatenate([np.sin(q), np.cos(q), seen], axis=-1), torques


def _rows(config: RobotDynamicsConfig, scale: np.ndarray, rng: np.random.Generator, count: int) -> Batch:
    inputs, torques = _simulate(config, rng, count)
    weights = np.ones((count, config.steps), np.float32)
    return Batch(inputs.astype(np.float32), (torques / scale).astype(np.float32), weights)


def _with_past(inputs: np.ndarray, steps: int = 10) -> np.ndarray:
    """Each step side by side with the ``steps`` - 1 before it; the first step stands for those before the beginning."""
    places = np.maximum(np.arange(inputs.shape[1])[:, None] - np.arange(steps), 0)
    return inputs[:, places].reshape(*inputs.shape[:2], -1)


def _linear(inputs: np.ndarray, torques: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function from inputs to torques that least squares with an intercept gives."""

    def design(inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1))], axis=-1)

    x = design(inputs).reshape(-1, inputs.shape[-1] + 1)
    weights = np.linalg.solve(x.T @ x, x.T @ torques.reshape(-1, 2))
    return lambda inputs: design(inputs) @ weights


def _errors(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """R², averaged over the two joints, and the mean absolute error in N m; torques (..., 2) in N m."""
    true, predicted = (torques.reshape(-1, 2).astype(np.float64) for torques in (true, predicted))
    unexplained = ((true - predicted) ** 2).sum(axis=0) / ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return {"r2": round(float(1 - unexplained.mean()), 4), "mae": round(float(np.abs(true - predicted).mean()), 4)}


def _assess(scale: np.ndarray, pairs: Iterable[tuple[Batch, Any]]) -> Assessment:
    """R² and the error in N m over all motions, and a picture of the first one."""
    true, predicted = [], []
    for batch, outputs in pairs:
        real = batch.weights.any(axis=1)
        true.append(batch.targets[real] * scale)
        predicted.append(np.asarray(outputs)[real] * scale)
    lines = {"true": true[0][0], "predicted": predicted[0][0]}
    panels = [
        {"title": joint, "lines": {name: torques[:, place].round(3).tolist() for name, torques in lines.items()}}
        for place, joint in enumerate(_JOINTS)
    ]
    picture = {"kind": "lines", "x": "step", "y": "torque (N m)", "panels": panels}
    return Assessment(_errors(np.concatenate(true), np.concatenate(predicted)), {"torques": picture})


register(RobotDynamicsConfig, check_data=check_data, build=build)
