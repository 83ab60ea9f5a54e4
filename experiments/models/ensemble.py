"""Several models of one kind side by side, each with its own parameters; their answers are averaged."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.tasks.inputs import Pooled


class Ensemble(nn.Module):
    """``count`` members with the mean of their outputs, or of their probabilities (Lakshminarayanan et al. 2017).

    With ``deterministic=False``, in training, each member gets its own part of the batch alone: member m gets the m-th
    of ``count`` equal parts. So the mean loss over the batch is the mean of the members' losses, and no member learns
    of another.

    ``probabilities``: True for outputs that are logits of classes; the ensemble then gives log-probabilities.
    """

    member: Any
    """The `SequenceModel` that all members are like."""
    count: int
    probabilities: bool

    def __call__(
        self, inputs: jax.Array, seq_lengths: jax.Array | None = None, *, deterministic: bool = True
    ) -> jax.Array:
        """Outputs like those of a member; with ``deterministic=False`` ``count`` has to divide B."""
        return self.pooled(inputs, seq_lengths, deterministic=deterministic).outputs

    def pooled(self, inputs: jax.Array, seq_lengths: jax.Array | None = None, *, deterministic: bool = True) -> Pooled:
        """The outputs of a call, and the mean of the members' weights of the steps."""

        def run(member: Any, inputs: jax.Array, seq_lengths: jax.Array | None) -> Pooled:
            return member.pooled(inputs, seq_lengths, deterministic=deterministic)

        def share(leaf: Any) -> jax.Array:
            if deterministic:
                return jnp.broadcast_to(leaf, (self.count, *jnp.shape(leaf)))
            return jnp.reshape(leaf, (self.count, -1, *jnp.shape(leaf)[1:]))

        all_of_them = nn.vmap(
            run,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, 0),
            axis_size=self.count,
        )
        said = all_of_them(self.member, *jax.tree.map(share, (inputs, seq_lengths)))
        if not deterministic:
            return jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), said)
        if not self.probabilities:
            return jax.tree.map(lambda leaf: leaf.mean(axis=0), said)
        outputs = jax.nn.logsumexp(jax.nn.log_softmax(said.outputs), axis=0) - jnp.log(jnp.float32(self.count))
        return Pooled(outputs, None if said.weights is None else said.weights.mean(axis=0))
