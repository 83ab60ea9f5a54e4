"""The model of a config for films: patches, recurrent layers over places or over whole frames, a read-out."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

import gru_jax
from experiments.models.precision import conv, dense, widened
from experiments.models.stack import attention_pooling, recurrent_layers
from experiments.tasks.inputs import Forecast, Frames


class FramesModel(nn.Module):
    """From films to the next frame at every frame, or to one answer a film.

    ``patch_size``: the side, in pixels, of the square that is one place of a convolutional cell; its pixels are the
    channels of that place (Shi et al. 2015, section 4.1). None, for any other cell: a frame enters as one vector.
    ``input_features``: the features of a layer in front, over the 3x3 places around each place or the whole frame;
    without it frames enter as they are. ``pool_size``: the side, in places, of the square that becomes one place, with
    the largest value of each of these features.

    ``readout``: "every" gives (B, T, outputs), the pixels of a frame at every step, each place its own. "last", "mean"
    and "attention", as in `SequenceModel`, give (B, outputs) from the largest value that each feature has at any place.
    ``dtype`` and ``backend`` are as there, too.
    """

    cell: gru_jax.Cell
    features: int | tuple[int, ...]
    inputs: Frames
    outputs: int
    readout: Literal["last", "mean", "attention", "every"]
    patch_size: int | None = None
    pool_size: int = 1
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    input_features: int | None = None
    dtype: Any = None
    backend: str = "auto"

    def setup(self) -> None:
        """Make the layers."""
        if self.input_features is not None:
            width, places = self.input_features, self.patch_size is not None
            self.input_layer = conv(width, (3, 3), self.dtype) if places else dense(width, self.dtype)
        self.recurrent = recurrent_layers(self)
        if self.readout == "attention":
            self.pooling = attention_pooling(self)
        self.dropout = nn.Dropout(self.dropout_rate)
        if self.patch_size is not None and self.readout == "every":
            self.output_layer = dense(self.patch_size**2 * self.inputs.channels, self.dtype)
        else:
            self.output_layer = dense(self.outputs, self.dtype)

    def __call__(
        self, inputs: jax.Array, seq_lengths: jax.Array | None = None, *, deterministic: bool = True
    ) -> jax.Array:
        """Outputs for films (B, T, height, width, channels), which are whole: ``seq_lengths`` has to be None.

        With ``deterministic=False`` dropout acts, and draws from the "dropout" key.
        """
        _, ys = self.recurrent(self._enter(inputs), deterministic=deterministic)
        if self.readout == "every":
            return self._leave(self.dropout(ys, deterministic=deterministic))
        if self.patch_size is not None:
            ys = ys.max(axis=(2, 3))
        if self.readout == "attention":
            ys, _ = self.pooling(ys)
        elif self.readout == "mean":
            ys = widened(ys).mean(axis=1)
        else:
            # A backward layer reads the first step last.
            forward = ys.shape[-1] // 2 if self.bidirectional else ys.shape[-1]
            ys = jnp.concatenate([ys[:, -1, :forward], ys[:, 0, forward:]], axis=-1)
        return self.output_layer(self.dropout(ys, deterministic=deterministic))

    def forecast(self, inputs: jax.Array, seq_lengths: jax.Array | None = None) -> Forecast:
        """The outputs of a call with ``readout="every"``, and the frames after the given ones, from the model's own."""
        start, steps = inputs[:, : self.inputs.given], inputs.shape[1] - self.inputs.given

        def step(model: FramesModel, state: tuple[Any, jax.Array], _: None) -> tuple[Any, jax.Array]:
            carry, frame = state
            carry, outputs = model.advance(frame.reshape(start[:, :1].shape), carry)
            return (carry, outputs[:, 0]), outputs[:, 0]

        carry, outputs = self.advance(start)
        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, length=steps, out_axes=1)
        _, later = scan(self, (carry, outputs[:, -1]), None)
        return Forecast(self(inputs), jnp.concatenate([outputs[:, -1:], later], axis=1))

    def advance(self, inputs: jax.Array, carry: Any = None) -> tuple[Any, jax.Array]:
        """Read (B, T, height, width, channels) more frames from ``carry`` (None: the start), without dropout.

        Returns the carry to go on from, and the frame after each, (B, T, outputs).
        """
        carry, ys = self.recurrent(self._enter(inputs), initial_carry=carry, deterministic=True)
        return carry, self._leave(ys)

    def _enter(self, inputs: jax.Array) -> jax.Array:
        size = self.patch_size
        xs = inputs.reshape(*inputs.shape[:2], -1) if size is None else to_patches(inputs, size)
        if self.input_features is not None:
            xs = nn.relu(self.input_layer(xs))
        return xs if self.pool_size == 1 else pool(xs, self.pool_size)

    def _leave(self, ys: jax.Array) -> jax.Array:
        """The frames (B, T, outputs) that ``ys``, the outputs of the last recurrent layer, stand for."""
        frames = self.output_layer(ys)
        if self.patch_size is not None:
            frames = from_patches(frames, self.patch_size)
        return frames.reshape(*frames.shape[:2], -1)


def to_patches(frames: jax.Array, size: int) -> jax.Array:
    """(..., height, width, C) to (..., height / size, width / size, size * size * C); ``size`` divides both sides."""
    *lead, height, width, channels = frames.shape
    squares = frames.reshape(*lead, height // size, size, width // size, size, channels)
    return jnp.moveaxis(squares, -4, -3).reshape(*lead, height // size, width // size, size * size * channels)


def pool(places: jax.Array, size: int) -> jax.Array:
    """(..., height, width, C) to (..., height / size, width / size, C): the largest values of each square."""
    *lead, height, width, channels = places.shape
    # Flax's max_pool and its derivative take four times as long on CPU (320 frames of 10 x 10, 32 channels).
    return places.reshape(*lead, height // size, size, width // size, size, channels).max(axis=(-4, -2))


def from_patches(patches: jax.Array, size: int) -> jax.Array:
    """The frames that ``patches`` come from: the inverse of `to_patches`."""
    *lead, height, width, channels = patches.shape
    squares = patches.reshape(*lead, height, width, size, size, channels // size**2)
    return jnp.moveaxis(squares, -3, -4).reshape(*lead, height * size, width * size, channels // size**2)
