"""Facts of a module that change its outputs beside its weights; each is converted, or refused by name.

No framework is imported: a module is known by the attributes it has. In the end the module is run for a step, since a
class of the user's own may compute anything with weights that look like a GRU's.
"""

import copy
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUParams
from gru_jax.interop._arrays import children


class Activations(NamedTuple):
    """The functions of the candidate and of the gates."""

    activation: Any
    gate_activation: Any


def nodes_at(tree: Any, place: str) -> list[Any]:
    """The nodes on the way to a place such as `encoder/cell`, the tree first and the node at the place last."""
    nodes, rest = [tree], place.strip("/")
    while rest:
        below = children(nodes[-1]) if isinstance(nodes[-1], Mapping) or hasattr(nodes[-1], "__dict__") else {}
        fitting = [name for name in below if f"{rest}/".startswith(f"{name}/")]
        if not fitting:
            # The tree lacks the place; others say so.
            return [{}]
        name = max(fitting, key=len)
        nodes.append(below[name])
        rest = rest[len(name) + 1 :]
    return nodes


def read_activations(framework: str, paths: Sequence[Sequence[Sequence[Any]]]) -> Activations | None:
    """The activations that all cells at the ends of `paths[layer][direction]` share; None where nothing tells.

    Raises:
      ValueError: naming the attribute of a cell, or of what is around it, that gru_jax does not keep with weights.
    """
    found: list[Activations] = []
    for layer in paths:
        for direction, nodes in enumerate(layer):
            _check_around(nodes, direction if len(layer) == 2 else None)
            if isinstance(nodes[-1], Mapping):
                continue
            _check_cell(framework, nodes[-1])
            functions = [_attribute(nodes[-1], name) for name in ("activation_fn", "gate_fn")]
            if None not in functions:
                found.append(Activations(*functions))
    for other in found[1:]:
        if other != found[0]:
            raise ValueError(
                f"activation_fn, gate_fn: expected the same for all layers, got {found[0]} and {other}; "
                "convert the layers one by one."
            )
    return found[0] if found else None


def _check_around(nodes: Sequence[Any], direction: int | None) -> None:
    """Check the modules around a cell: in which direction they run it, and how they merge two directions."""
    both = None
    for node, below in itertools.pairwise(nodes):
        if all(hasattr(node, name) for name in ("forward_rnn", "backward_rnn", "merge_fn")):
            both = node
            if direction is not None and below is not (node.forward_rnn, node.backward_rnn)[direction]:
                raise ValueError(
                    "prefix: expected that of forward_rnn and then that of backward_rnn, got another order; "
                    "turn the pair around."
                )
            if direction is not None and not _concatenates(node.merge_fn):
                raise ValueError(
                    f"merge_fn: expected one that concatenates both directions, forward first, got {node.merge_fn!r}; "
                    "convert the directions one by one, and merge their ys."
                )
        elif hasattr(node, "cell") and hasattr(node, "reverse") and both is None and node.reverse:
            # It does not count inside a Bidirectional, where Flax passes it anew.
            raise ValueError(
                f"reverse: expected False, got {node.reverse!r}, which weights do not keep; pass the cell alone, the "
                "module's .cell, and run it by gru_jax.scan(..., reverse=True), whose ys are in the order of xs, "
                "as with keep_order=True."
            )


def _concatenates(merge: Any) -> bool:
    one, other = np.arange(6.0, dtype=np.float32).reshape(1, 2, 3), -np.arange(6.0, dtype=np.float32).reshape(1, 2, 3)
    try:
        return np.array_equal(np.asarray(merge(jnp.asarray(one), jnp.asarray(other))), np.concatenate([one, other], -1))
    except Exception:
        # A function of the user's own, which may want anything.
        return False


def _check_cell(framework: str, cell: Any) -> None:
    """Check the attributes of a cell, and of the linear maps in it, that must have their defaults."""
    start = _attribute(cell, "carry_init")
    if start is not None and not _is_zeros(start):
        raise ValueError(
            f"carry_init: expected None or zeros, got {start!r}; weights do not keep where a sequence starts: set "
            "carry_init to None, and pass the start to gru_jax.scan as carry."
        )
    for label, node in _with_maps(cell).items():
        for attribute, expected in _DEFAULTS.items():
            value = _attribute(node, attribute)
            if value is not None and not expected(value):
                raise ValueError(
                    f"{label}{attribute}: expected the default of {framework}, got {value!r}, which weights do "
                    f"not keep; set it to the default{_INSTEAD.get(attribute, '')}."
                )


def check_dtype(cell: Any, weights: np.dtype) -> None:
    """Check that a cell computes in the dtype of its weights, or in that of its inputs.

    Raises:
      ValueError: naming the dtype that it computes in.
    """
    for label, node in _with_maps(cell).items():
        dtype = _attribute(node, "dtype")
        if dtype is not None and jnp.dtype(dtype) != weights:
            raise ValueError(
                f"{label}dtype: expected None or {weights}, as the weights are, got {jnp.dtype(dtype)}; gru_jax "
                f"computes in the dtype of xs: set {label}dtype to None, and pass xs in {jnp.dtype(dtype)}."
            )


def _with_maps(cell: Any) -> dict[str, Any]:
    """A cell and the linear maps in it, by the prefix of their attributes in messages."""
    return {"": cell} | {f"{name}.": node for name, node in children(cell).items() if hasattr(node, "kernel")}


def _attribute(node: Any, name: str) -> Any:
    """An attribute that stands in a module, or in the flax.linen module that it wraps; None if there is none."""
    # Not by getattr alone: nnx.bridge makes a method for any name that is asked for.
    node = vars(node).get("to_nnx__module", node)
    found = inspect.getattr_static(node, name, None)
    return getattr(node, name, None) if isinstance(found, property) else found


def _is_zeros(init: Any) -> bool:
    try:
        return not np.any(np.asarray(init(jax.random.key(0), (2, 3), jnp.float32)))
    except Exception:
        # A function of the user's own, which may want anything.
        return False


def _of_flax(name: str) -> Any:
    return lambda value: (
        getattr(value, "__name__", "") == name and str(getattr(value, "__module__", "")).startswith("flax.")
    )


_DEFAULTS = {
    "precision": lambda value: False,
    "preferred_element_type": lambda value: False,
    "dot_general": lambda value: value is jax.lax.dot_general,
    "dot_general_cls": lambda value: False,
    "promote_dtype": _of_flax("promote_dtype"),
}
_INSTEAD = {"precision": ", and pass precision to gru_jax.scan"}


def check_outputs(framework: str, module: Any, cell: Cell, params: GRUParams) -> None:
    """Compare a step of the module with one of the cell made from it; what cannot be called is passed over.

    Raises:
      ValueError: where the outputs differ, or the module cannot be run as a cell.
    """
    if isinstance(module, Mapping) or not callable(module):
        return
    kind = type(module).__name__
    check_dtype(module, params.w_h.dtype)
    h, x = _probe(params)
    remedy = "pass its arrays alone, as a mapping by name, if they are a GRU's"
    try:
        # A copy, as a module may count its calls. Products in full precision, as the results are compared.
        ours = copy.deepcopy(module)
        with jax.default_matmul_precision("highest"):
            found = [ours(x[0], h[0])] if framework == "Equinox" else list(ours(h, x))
            expected = cell(params, h[0], x[0])[:1] if framework == "Equinox" else cell(params, h, x)
        found, expected = (np.stack([np.asarray(a, np.float64) for a in arrays]) for arrays in (found, expected))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"params: expected a module that computes a GRU's step, got {kind}, which fails when it is tried "
            f"({reason}); {remedy}."
        ) from None
    dtype = _attribute(module, "dtype")
    narrow = dtype is not None and jnp.finfo(dtype).bits < 32
    limit = (0.05 if narrow else 1e-3) * max(1.0, float(np.max(np.abs(np.nan_to_num(expected)), initial=0)))
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=limit, equal_nan=True):
        off = (
            f"by {np.max(np.abs(found - expected)):.2g}"
            if found.shape == expected.shape
            else f"in shape, {found.shape}"
        )
        raise ValueError(
            f"params: expected a module that computes what a GRU of {framework} does, got {kind}, whose step is off "
            f"{off}: it computes something else; {remedy}."
        )


def _probe(params: GRUParams) -> tuple[jax.Array, jax.Array]:
    """A state and an input, two rows of each."""
    rng = np.random.default_rng(0)
    wide = params.w_h.dtype == np.float64 and jax.config.read("jax_enable_x64")
    rows = (rng.normal(size=(2, width)) for width in (params.w_h.shape[0], params.w_i.shape[0]))
    h, x = (jnp.asarray(row.astype(np.float64 if wide else np.float32)) for row in rows)
    return h, x
