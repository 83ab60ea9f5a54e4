import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score

from experiments.tasks.motion.robot_dynamics import RobotDynamicsConfig, build
from experiments.tasks.motion.two_link_arm import GRAVITY, Arm, energy, motions, torque


@pytest.fixture(scope="module")
def task():
    return build(RobotDynamicsConfig(name="robot_dynamics", noise=0.0, validation_rows=10, test_rows=60))


def test_energy_changes_by_the_work_of_torque_less_friction():
    step = 1e-4
    q, qd, qdd = motions(np.random.default_rng(0), 20, step * np.arange(2000))
    power = ((torque(Arm(), q, qd, qdd) - np.array(Arm().friction) * qd) * qd).sum(axis=-1)
    change = np.gradient(energy(Arm(), q, qd), step, axis=1)
    np.testing.assert_allclose(change[:, 1:-1], power[:, 1:-1], atol=1e-4)
    assert np.abs(power).max() > 10


def test_torques_are_those_of_lagranges_equations(x64):
    """d/dt dL/dq̇ - dL/dq + D q̇ of a Lagrangian written with the places of the two bodies, by automatic derivatives."""
    arm = Arm()

    def places(q):
        directions = [jnp.stack([jnp.cos(angle), jnp.sin(angle)]) for angle in (q[0], q[0] + q[1])]
        return jnp.stack([arm.centres[0] * directions[0], arm.length * directions[0] + arm.centres[1] * directions[1]])

    def lagrangian(q, qd):
        _, velocities = jax.jvp(places, (q,), (qd,))
        turning = jnp.stack([qd[0], qd[0] + qd[1]])
        kinetic = 0.5 * jnp.asarray(arm.masses) @ (velocities**2).sum(axis=1)
        kinetic += 0.5 * jnp.asarray(arm.inertias) @ turning**2
        return kinetic - GRAVITY * jnp.asarray(arm.masses) @ places(q)[:, 1]

    def reference(q, qd, qdd):
        _, momentum_change = jax.jvp(jax.grad(lagrangian, 1), (q, qd), (qd, qdd))
        return momentum_change - jax.grad(lagrangian)(q, qd) + jnp.asarray(arm.friction) * qd

    q, qd, qdd = np.random.default_rng(1).normal(size=(3, 50, 2)) * [[[1]], [[2]], [[5]]]
    np.testing.assert_allclose(torque(arm, q, qd, qdd), jax.vmap(reference)(q, qd, qdd), rtol=1e-10, atol=1e-10)


def test_speeds_and_accelerations_are_the_derivatives_of_the_angles():
    step = 1e-3
    q, qd, qdd = motions(np.random.default_rng(2), 10, step * np.arange(500))
    np.testing.assert_allclose(np.gradient(q, step, axis=1)[:, 1:-1], qd[:, 1:-1], atol=1e-3)
    np.testing.assert_allclose(np.gradient(qd, step, axis=1)[:, 1:-1], qdd[:, 1:-1], atol=1e-2)
    assert np.abs(qdd).max() > 5


def test_targets_are_the_torques_of_the_motion_that_is_seen(task):
    batch = task.train_batch(0, 0, 8)
    sines, cosines, qd = np.split(batch.inputs.astype(np.float64), 3, axis=-1)
    qdd = np.gradient(qd, 0.02, axis=1)
    expected = torque(Arm(), np.arctan2(sines, cosines), qd, qdd) / task.facts["torque_scale_n_m"]
    np.testing.assert_allclose(batch.targets[:, 1:-1], expected[:, 1:-1], atol=0.05)
    assert batch.targets.std() == pytest.approx(1, abs=0.2)
    assert batch.weights.all()


def test_only_the_speeds_carry_noise():
    def inputs(noise):
        return build(RobotDynamicsConfig(name="robot_dynamics", noise=noise)).train_batch(0, 0, 100).inputs

    difference = inputs(0.1) - inputs(0.0)
    # Noise is drawn after the motions, so these are the same.
    assert not difference[..., :4].any()
    assert difference[..., 4:].std() == pytest.approx(0.1, rel=0.02)


def test_the_floor_is_that_of_linear_regression(task):
    train = task.train_batch(9, 0, 200)
    (test,) = task.split_batches("test", 1000)
    scale = np.array(task.facts["torque_scale_n_m"])
    model = LinearRegression().fit(train.inputs.reshape(-1, 6), train.targets.reshape(-1, 2))
    predicted, true = model.predict(test.inputs.reshape(-1, 6)), test.targets.reshape(-1, 2)
    assert task.floor["r2"] == pytest.approx(r2_score(true, predicted), abs=0.02)
    assert task.floor["mse"] == pytest.approx(((true - predicted) ** 2).mean(), rel=0.03)
    assert task.floor["mae"] == pytest.approx(np.abs((true - predicted) * scale).mean(), rel=0.03)


def test_the_assessment_is_over_all_motions_and_ignores_filled_rows(task):
    rng = np.random.default_rng(0)
    batches = list(task.split_batches("test", 25))
    assert not batches[-1].weights.all()
    pairs = [(batch, batch.targets + rng.normal(size=batch.targets.shape).astype(np.float32)) for batch in batches]
    assessment = task.assess(iter(pairs))
    kept = [(batch.weights > 0, batch.targets, outputs) for batch, outputs in pairs]
    true, predicted = (np.concatenate([row[place][row[0]] for row in kept]) for place in (1, 2))
    scale = np.array(task.facts["torque_scale_n_m"])
    assert assessment.metrics["r2"] == pytest.approx(r2_score(true, predicted), abs=1e-4)
    assert assessment.metrics["mae"] == pytest.approx(mean_absolute_error(true * scale, predicted * scale), abs=1e-3)
    panel = assessment.pictures["torques"]["panels"][1]
    np.testing.assert_allclose(panel["lines"]["true"], batches[0].targets[0, :, 1] * scale[1], atol=1e-3)
    np.testing.assert_allclose(panel["lines"]["predicted"], pairs[0][1][0, :, 1] * scale[1], atol=1e-3)
