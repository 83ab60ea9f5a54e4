"""Laws 2, 3, 4, 6 and 7 on a mesh of devices, as a program of its own: the CPU is told early to look like several.

Prints one line for each law that does not hold, and "done".
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

import gru_jax
from tests.cases import KINDS, H, I, relative_error
from tests.throwaway_kernel import throwaway, twin

T, B = 5, 4
LENGTHS = np.array([5, 0, 3, 4], np.int32)
RESETS = np.random.default_rng(3).random((T, B)) < 0.3


def expected(case, params, xs, weights):
    """By the reference, and gradients on one device, which other tests hold to it."""
    zero = jax.tree.map(np.asarray, case.cell.carry(params, batch_shape=(B,)))
    wide = (tuple(np.float64(p) for p in params), np.float64(xs))
    zero = tuple(zero) if isinstance(zero, tuple) else zero
    valid = np.arange(T)[:, None] < LENGTHS
    values = [case.run(*wide, zero, valid, RESETS, zero, reverse) for reverse in (False, True)]
    values.append(case.run(*wide, zero))
    gradients = jax.jit(jax.grad(loss(case), argnums=(0, 1)))(params, xs, LENGTHS, RESETS, weights)
    return values, gradients


def loss(case):
    def value(params, xs, lengths, resets, weights):
        carry, ys = case.scan(params, xs, seq_lengths=lengths, resets=resets)
        return jnp.sum(weights * ys) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(carry))

    return value


def run(case, params, *rest):
    """Values and gradients; no call makes a carry."""
    _, lengths, resets, _ = rest
    masks = {"seq_lengths": lengths, "resets": resets}
    values = [
        case.scan(params, rest[0], **masks),
        case.scan(params, rest[0], **masks, reverse=True, remat=2),
        jax.vmap(lambda x: case.scan(params, x), 1, (0, 1))(rest[0]),
    ]
    return values, jax.grad(loss(case), argnums=(0, 1))(params, *rest)


SPECS = (PartitionSpec(None, "d"), PartitionSpec("d"), PartitionSpec(None, "d"), PartitionSpec(None, "d"))


def on_explicit_axes(case, params, *rest):
    with jax.set_mesh(jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))):
        placed = [jax.device_put(leaf, spec) for leaf, spec in zip(rest, SPECS, strict=True)]
        return jax.jit(lambda *a: run(case, *a))(params, *placed)


def under_shard_map(case, params, *rest):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    carries = jax.tree.map(lambda _: PartitionSpec("d"), case.cell.carry(params))
    specs = ([(carries, SPECS[0])] * 3, (PartitionSpec(), SPECS[0]))
    mapped = jax.shard_map(lambda *a: run(case, *a), mesh=mesh, in_specs=(PartitionSpec(), *SPECS), out_specs=specs)
    return jax.jit(mapped)(params, *rest)


def other_shapes():
    """Where there is nothing to take a type from, or where more than the batch is sharded."""
    case = KINDS[0]
    params, x = case.params(dtype=np.float32), case.xs((4, 2, 4), dtype=np.float32)
    alone = case.scan(params, x)
    lengths = np.array([[4, 1], [0, 3]], np.int32)
    padded = case.scan(params, x[:, :, :2], seq_lengths=lengths)
    even = case.params(dtype=np.float32, features=4)
    with jax.set_mesh(jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))):
        for spec in ((None, "d"), (None, None, "d"), ("d",), (None, None, None, "d")):
            found = case.scan(params, jax.device_put(x, PartitionSpec(*spec)))
            if relative_error(found, alone) > 1e-5:
                print("sharded as", spec)
        found = case.scan(params, jax.device_put(x[:, :, :2], PartitionSpec(None, "d")), seq_lengths=lengths)
        if relative_error(found, padded) > 1e-5:
            print("lengths beside two axes of the batch")
        weights = jax.tree.map(lambda p: jax.device_put(p, PartitionSpec(*(None,) * (p.ndim - 1), "d")), even)
        found = case.scan(weights, jax.device_put(x[:, 0], PartitionSpec(None, "d")))
        if relative_error(found, case.scan(even, x[:, 0])) > 1e-5:
            print("sharded weights")
        empty = jax.device_put(x[:0, 0], PartitionSpec(None, "d"))
        carry, _ = case.scan(params, empty)
        if tuple(jax.typeof(carry).sharding.spec) != ("d", None):
            print("no steps:", jax.typeof(carry))
        one = jax.device_put(x[:, 0], PartitionSpec(None, "d"))
        found = case.scan(params, one, jnp.ones(H), resets=RESETS[:4], reset_carry=np.zeros((4, 1, H), np.float32))
        if relative_error(found, case.scan(params, x[:, 0], jnp.ones(H), resets=RESETS[:4])) > 1e-5:
            print("a carry for all rows")
        stack = gru_jax.init_layers(case.cell, jax.random.key(0), I, H, num_layers=2, bidirectional=True)
        found = gru_jax.scan_layers(case.cell, stack, one, dropout_rate=0.5, dropout_key=jax.random.key(1))
        if jax.typeof(found[1]).sharding.spec[1] != "d":
            print("a stack:", jax.typeof(found[1]))
        state = jax.tree.map(
            lambda h: jax.device_put(h, PartitionSpec("d")), gru_jax.carry_layers(case.cell, ((stack[0][0],),), (4,))
        )
        _, y = gru_jax.step_layers(
            case.cell, ((stack[0][0],),), state, one[0], reset=jax.device_put(RESETS[0], PartitionSpec("d"))
        )
        if jax.typeof(y).sharding.spec[0] != "d":
            print("a step:", jax.typeof(y))


def main():
    # A callback cannot be cut over devices: the kernel that is a program stands in for it.
    for case in (case._replace(backend=twin.name) if case.backend == throwaway.name else case for case in KINDS):
        arguments = (case.params(dtype=np.float32), case.xs((T, B), dtype=np.float32))
        weights = np.random.default_rng(5).normal(size=(T, B, H)).astype(np.float32)
        wanted = expected(case, *arguments, weights)
        for place in (on_explicit_axes, under_shard_map):
            error = relative_error(place(case, *arguments, LENGTHS, RESETS, weights), wanted)
            if not error < 1e-5:
                print(case, place.__name__, error)
    other_shapes()
    print("done")


if __name__ == "__main__":
    main()
