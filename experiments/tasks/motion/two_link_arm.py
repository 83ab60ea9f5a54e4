"""A simulated arm of two links in a vertical plane: rigid bodies, gravity, viscous friction in both joints.

    M(q) q̈ + c(q, q̇) + g(q) + D q̇ = τ

The equations are those of any textbook (Spong, Hutchinson & Vidyasagar, "Robot Modeling and Control", 2-link planar
elbow arm). q_1 is the angle of the first link above the horizontal, q_2 that of the second link from the first.
"""

from typing import NamedTuple

import numpy as np

GRAVITY = 9.81


class Arm(NamedTuple):
    """Two links; kilograms, metres, kg m², N m s/rad. Each pair is first link, second link."""

    length: float = 0.5
    """Length of the first link; that of the second does not matter."""
    masses: tuple[float, float] = (3.0, 2.0)
    centres: tuple[float, float] = (0.25, 0.2)
    """From the joint of a link to its centre of mass."""
    inertias: tuple[float, float] = (0.08, 0.04)
    """About the centres of mass."""
    friction: tuple[float, float] = (0.6, 0.3)


def torque(arm: Arm, q: np.ndarray, qd: np.ndarray, qdd: np.ndarray) -> np.ndarray:
    """τ (..., 2) in N m for angles, speeds and accelerations (..., 2) in rad, rad/s, rad/s²."""
    bend = arm.masses[1] * arm.length * arm.centres[1] * np.sin(q[..., 1])
    inertia = np.einsum("...ij,...j->...i", _inertia(arm, q), qdd)
    centrifugal = np.stack([-bend * (2 * qd[..., 0] + qd[..., 1]) * qd[..., 1], bend * qd[..., 0] ** 2], axis=-1)
    first, second = _moments(arm)
    weight = second * np.cos(q.sum(axis=-1))
    gravity = np.stack([first * np.cos(q[..., 0]) + weight, weight], axis=-1)
    return inertia + centrifugal + gravity + np.array(arm.friction) * qd


def energy(arm: Arm, q: np.ndarray, qd: np.ndarray) -> np.ndarray:
    """Kinetic and potential energy (...) in J; it changes by (τ - D q̇) · q̇ a second."""
    first, second = _moments(arm)
    potential = first * np.sin(q[..., 0]) + second * np.sin(q.sum(axis=-1))
    return 0.5 * np.einsum("...i,...ij,...j->...", qd, _inertia(arm, q), qd) + potential


def _inertia(arm: Arm, q: np.ndarray) -> np.ndarray:
    """M(q), (..., 2, 2)."""
    (m1, m2), (c1, c2), (i1, i2) = arm.masses, arm.centres, arm.inertias
    bend = m2 * arm.length * c2 * np.cos(q[..., 1])
    m22 = np.broadcast_to(i2 + m2 * c2**2, bend.shape)
    m12 = m22 + bend
    m11 = m22 + i1 + m1 * c1**2 + m2 * arm.length**2 + 2 * bend
    return np.stack([np.stack([m11, m12], axis=-1), np.stack([m12, m22], axis=-1)], axis=-2)


def _moments(arm: Arm) -> tuple[float, float]:
    """Gravity's largest torques at the first joint, in N m: the factors of cos q_1 and of cos(q_1 + q_2)."""
    (m1, m2), (c1, c2) = arm.masses, arm.centres
    return GRAVITY * (m1 * c1 + m2 * arm.length), GRAVITY * m2 * c2


def motions(rng: np.random.Generator, count: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth random motions: q, q̇, q̈, each (count, times, 2); sums of five sines of 0.1 to 1.5 Hz around a pose.

    Amplitudes fall with the frequency, so that no sine moves a joint faster than 1.5 rad/s.
    """
    shape = (count, 1, 2, 5)
    omega = 2 * np.pi * rng.uniform(0.1, 1.5, shape)
    phase = omega * times[:, None, None] + rng.uniform(0, 2 * np.pi, shape)
    amplitude = np.minimum(rng.uniform(0.2, 1.5, shape) / omega, 0.6)
    pose = rng.uniform(-np.pi, np.pi, (count, 1, 2))
    q = pose + (amplitude * np.sin(phase)).sum(axis=-1)
    qd = (amplitude * omega * np.cos(phase)).sum(axis=-1)
    return q, qd, -(amplitude * omega**2 * np.sin(phase)).sum(axis=-1)
