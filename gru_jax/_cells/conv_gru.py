"""The gated recurrent unit over frames, its matrix products replaced by convolutions."""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gru_jax._cells import initializers
from gru_jax._cells.cell import Bound, Cell
from gru_jax._cells.checks import check_batch_shape, check_flag, check_params, check_positive
from gru_jax._cells.gru import GRUOptions, GRUParams, check_update_gate, next_state, preactivations
from gru_jax._cells.initializers import Initializer
from gru_jax._cells.precision import add_bias, carry_dtype, matmul


class ConvGRUParams(NamedTuple):
    """One convolutional GRU layer in one direction; gates side by side in the order r, z, n.

    Attributes:
      w_i: `(kh, kw, I, 3H)`, the kernels applied to the input.
      w_h: `(kh, kw, H, 3H)`, the kernels applied to the state.
      b_i: `(3H,)`, the bias beside the input, the same at every place of the frame.
      b_h: `(3H,)`, the bias beside the state.
    """

    w_i: jax.Array
    w_h: jax.Array
    b_i: jax.Array
    b_h: jax.Array


class ConvGRUOptions(NamedTuple):
    """Which equations a convolutional GRU computes, and over how large a frame and neighbourhood."""

    gru: GRUOptions
    image_shape: tuple[int, int]
    kernel_shape: tuple[int, int]


class ConvGRUStart(NamedTuple):
    """How the params of a convolutional GRU begin; see `conv_gru`."""

    options: ConvGRUOptions
    kernel_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer
    update_bias: float


def conv_gru(
    *,
    image_shape: tuple[int, int],
    kernel_shape: tuple[int, int] = (3, 3),
    reset_after: bool = True,
    update_gate: Literal["keep", "write"] = "keep",
    kernel_init: Initializer = initializers.lecun_normal,
    recurrent_init: Initializer = initializers.orthogonal,
    bias_init: Initializer = initializers.zeros,
    update_bias: float = 0.0,
) -> Cell:
    """The gated recurrent unit of `gru` with convolutions (*) over frames in place of matrix products.

        r  = σ(x * W_ir + b_ir + h * W_hr + b_hr)                reset gate
        z  = σ(x * W_iz + b_iz + h * W_hz + b_hz)                update gate
        n  = tanh(x * W_in + b_in + r ∘ (h * W_hn + b_hn))       reset_after=True
        n  = tanh(x * W_in + b_in + (r ∘ h) * W_hn + b_hn)       reset_after=False (the paper's)
        h' = z ∘ h + (1 - z) ∘ n                                 update_gate="keep"
        h' = (1 - z) ∘ h + z ∘ n                                 update_gate="write" (the paper's)

        (x * W)[a, b] = Σ_ij x[a + i - (kh - 1) // 2, b + j - (kw - 1) // 2] W[i, j]     x = 0 beyond the frame's edge

    Args:
      image_shape: (height, width) of the frames, in pixels; the state has the same.
      kernel_shape: (kh, kw), the height and width of the neighbourhood that a place sees in one step.
      reset_after: whether the reset gate acts after the state's convolution, or before it.
      update_gate: whether z near 1 keeps the old state or writes the candidate.
      kernel_init: `init(key, (kh, kw, I, H), dtype)`, called once per gate, for w_i. The initialisers of JAX take
        kh kw I for the fan-in, which is what one place sums over.
      recurrent_init: `init(key, (kh, kw, H, H), dtype)`, called once per gate, for w_h; the default makes the
        columns of each gate's `(kh kw H, H)` matrix orthonormal.
      bias_init: `init(key, (H,), dtype)`, called once per gate and bias.
      update_bias: the initial bias of the update gate, when not 0.

    Returns:
      A `Cell` whose params are `ConvGRUParams`, whose input is x, `(*B, height, width, I)`, and whose carry is h,
      `(*B, height, width, H)`; y is h' in the input's dtype. `in_features` and `features` are channels, I and H.

    Raises:
      TypeError, ValueError: for options that do not exist or contradict each other.

    Source: Ballas et al. 2016, "Delving deeper into convolutional networks for learning video representations",
    section 3.1, after the convolutional LSTM of Shi et al. 2015.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> cell = gru_jax.conv_gru(image_shape=(8, 6))
      >>> params = cell.init(jax.random.key(0), in_features=1, features=4)
      >>> carry, ys = gru_jax.scan(cell, params, jnp.ones((5, 2, 8, 6, 1)))  # 5 frames of 2 films
      >>> ys.shape, carry.shape
      ((5, 2, 8, 6, 4), (2, 8, 6, 4))
    """
    check_update_gate(update_gate)
    initializers.check_initializers(kernel_init=kernel_init, recurrent_init=recurrent_init, bias_init=bias_init)
    initializers.check_bias_options("update_bias", update_bias, None)
    options = ConvGRUOptions(
        GRUOptions(check_flag("reset_after", reset_after), update_gate),
        _check_pair("image_shape", image_shape),
        _check_pair("kernel_shape", kernel_shape),
    )
    return _conv_gru(ConvGRUStart(options, kernel_init, recurrent_init, bias_init, float(update_bias)))


@functools.cache
def _conv_gru(start: ConvGRUStart) -> Cell:
    options = start.options
    return Cell(
        name="conv_gru",
        init=Bound(_init, start),
        carry=Bound(_zero_carry, options),
        project=_project,
        step=Bound(_step, options.gru),
        input_shape=Bound(_input_shape, options),
        options=options,
    )


def _init(
    start: ConvGRUStart, key: jax.Array, in_features: int, features: int, dtype: Any = jnp.float32
) -> ConvGRUParams:
    options, kernel_init, recurrent_init, bias_init, update_bias = start
    in_features, features, dtype = initializers.check_init(key, in_features, features, dtype)
    k_i, k_h, k_bi, k_bh, _ = jax.random.split(key, 5)
    i_shape, h_shape = ((*options.kernel_shape, size, features) for size in (in_features, features))
    b_i = initializers.per_gate("bias_init", bias_init, k_bi, (features,), 3, dtype)
    b_h = initializers.per_gate("bias_init", bias_init, k_bh, (features,), 3, dtype)
    if update_bias != 0.0:
        b_i = initializers.set_gate(b_i, 1, 3, update_bias)
        b_h = initializers.set_gate(b_h, 1, 3, 0.0)
    return ConvGRUParams(
        w_i=initializers.per_gate("kernel_init", kernel_init, k_i, i_shape, 3, dtype),
        w_h=initializers.per_gate("recurrent_init", recurrent_init, k_h, h_shape, 3, dtype),
        b_i=b_i,
        b_h=b_h,
    )


def convolve(x: jax.Array, w: jax.Array) -> jax.Array:
    """x * w, `(..., height, width, I)` and `(kh, kw, I, J)` to `(..., height, width, J)`, zeros beyond the edges.

    Products run in the dtype of w and accumulate in the carry's dtype.
    """
    return _by_patches(jnp.astype(x, w.dtype), w)


# One matrix product with the neighbourhoods of all places. XLA's own convolution is up to twice as fast forward on CPU,
# but a gradient with its derivative by the kernel took 20 times as long (10 steps, 16 frames of 32 x 32, 32 channels,
# jax 0.10.2). The neighbourhoods are kh kw times the size of x, so the backward pass makes them again.
@jax.checkpoint
def _by_patches(x: jax.Array, w: jax.Array) -> jax.Array:
    (kh, kw), (height, width) = w.shape[:2], x.shape[-3:-1]
    beyond = ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2)
    padded = jnp.pad(x, (*((0, 0),) * (x.ndim - 3), *beyond, (0, 0)))
    patches = [padded[..., i : i + height, j : j + width, :] for i in range(kh) for j in range(kw)]
    return matmul(jnp.concatenate(patches, axis=-1), w.reshape(math.prod(w.shape[:3]), w.shape[3]))


_SHAPES: dict[str, tuple[str, ...]] = {
    "w_i": ("kh", "kw", "I", "3H"),
    "w_h": ("kh", "kw", "H", "3H"),
    "b_i": ("3H",),
    "b_h": ("3H",),
}


def _check_pair(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name}: expected two sizes, (height, width), got {value!r}; pass (3, 3), for example.")
    height, width = (check_positive(f"{name}[{i}]", size, remedy="pass it in pixels") for i, size in enumerate(value))
    return height, width


def _zero_carry(options: ConvGRUOptions, params: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    if not isinstance(params, ConvGRUParams):
        raise TypeError(
            f"params: expected ConvGRUParams, got {type(params).__name__}; pass what this cell's init returned."
        )
    shape = (*check_batch_shape(batch_shape), *options.image_shape, params.w_h.shape[-2])
    return jnp.zeros(shape, carry_dtype(params.w_h.dtype))


def _input_shape(options: ConvGRUOptions, params: Any) -> tuple[int, int, int]:
    kh, kw = options.kernel_shape
    check_params("conv_gru", ConvGRUParams, params, _SHAPES, kh=kh, kw=kw)
    return (*options.image_shape, params.w_i.shape[2])


def _project(params: ConvGRUParams, x: jax.Array) -> jax.Array:
    return add_bias(convolve(x, params.w_i), params.b_i)


def _step(options: GRUOptions, params: ConvGRUParams, h: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = next_state(options, preactivations(options, GRUParams(*params), h, g, product=convolve), h)
    return h, h
