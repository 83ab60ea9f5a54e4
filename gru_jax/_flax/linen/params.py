"""Params to and from the variables of linen: nested dicts of arrays, which may be in boxes."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from gru_jax._attention.attention import AdditiveAttentionParams, DotProductAttentionParams
from gru_jax._cells.boxes import Boxes, is_box, unboxed
from gru_jax._cells.cell import Cell
from gru_jax._cells.gru import GRUParams, gru
from gru_jax._decoding.params import BridgeParams, EncoderDecoderParams, check_encoder_decoder_params
from gru_jax._flax.attention_layout import to_names
from gru_jax._flax.param_names import as_dict, check_names, from_dict, layers_as_dict, made_params
from gru_jax._layers.layers import check_nesting
from gru_jax._scan.checks import check_cell


def as_variables(params: Any) -> dict[str, Any]:
    """The variables of a linen module that has these params, for its `apply`.

    Args:
      params: `params[layer][direction]` for `GRU`, those of one layer and direction for `GRUCell`, those of
        `gru_jax.init_encoder_decoder`, or those of an attention.

    Returns:
      `{"params": {...}}`, as the module's `init` returns them.

    Raises:
      TypeError: for what is none of these.

    Example:
      >>> import gru_jax, jax, jax.numpy as jnp
      >>> params = gru_jax.init_layers(gru_jax.gru(), jax.random.key(0), 3, 16, num_layers=2)
      >>> model = gru_jax.linen.GRU(16, num_layers=2)
      >>> carry, ys = model.apply(gru_jax.linen.as_variables(params), jnp.ones((4, 10, 3)))
      >>> ys.shape
      (4, 10, 16)
    """
    if isinstance(params, EncoderDecoderParams):
        return {"params": to_names(params)}
    if hasattr(params, "_fields"):
        return {"params": as_dict(params)}
    check_nesting("params", params)
    return {"params": layers_as_dict(params)}


def as_params(variables: Mapping[str, Any], *, cell: Cell = gru()) -> Any:  # noqa: B008 - a cell is an immutable record
    """The params of a linen module, as the functions of gru_jax take them: `as_variables` backwards.

    Args:
      variables: what `init` of `GRU`, `GRUCell` or `EncoderDecoder` returned, or its "params"; arrays may be in boxes.
      cell: the module's cell, which variables do not tell.

    Returns:
      `params[layer][direction]`, the params of one cell, or `gru_jax.EncoderDecoderParams`. An absent bias is None.

    Raises:
      TypeError, ValueError: naming what does not fit.
    """
    check_cell(cell)
    if not isinstance(variables, Mapping):
        raise TypeError(f"variables: expected a dict, got {type(variables).__name__}; pass what init returned.")
    tree = unboxed(variables.get("params", variables))
    if "w_o" in tree and "encoder" in tree:
        params = _encoder_decoder(cell, tree)
        _traced(lambda params: check_encoder_decoder_params(cell, params), params)
        return params
    if "layer_0" in tree:
        params = _layers(cell, tree, "params")
        _traced(lambda params: [cell.input_shape(p) for layer in params for p in layer], params)
        return params
    if tree and all(isinstance(part, Mapping) for part in tree.values()):
        first = next(iter(tree))
        raise ValueError(
            f"variables: expected those of one module of gru_jax, layer_0 and so on, got {', '.join(sorted(tree))}; "
            f"pass that module's part of them, such as variables['params'][{first!r}]."
        )
    params = _cell(cell, tree, "params")
    _traced(cell.input_shape, params)
    return params


def boxed(params: Any, boxes: Boxes) -> Any:
    """Params, each array in a box of linen's kind like the one that it came out of."""
    return jax.tree.map(_as_linen, boxes.put_back(params), is_leaf=is_box)


def declare(module: nn.Module, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Declare made parameters as the module's own; returns them by name."""
    return {name: module.param(name, lambda _, value=value: value) for name, value in leaves.items()}


def params_key(module: nn.Module) -> jax.Array:
    """A key for a module that must make its parameters; raises where they should have been passed."""
    if not module.is_mutable_collection("params"):
        raise ValueError(
            f"params: expected the parameters of {type(module).__name__}, got none; pass what init returned."
        )
    return module.make_rng("params")


def _as_linen(value: Any) -> Any:
    if not is_box(value) or isinstance(value, nn.meta.AxisMetadata):
        return value
    if set(value.metadata) <= {"out_sharding", "mesh"} and value.metadata.get("out_sharding") is not None:
        return nn.Partitioned(value.raw_value, names=value.metadata["out_sharding"], mesh=value.metadata.get("mesh"))
    # Imported here, since linen alone does not need NNX.
    from flax import nnx
    from flax.nnx.bridge.variables import to_linen_var

    return to_linen_var(nnx.Param(value))


def _traced(check: Any, params: Any) -> None:
    """Check params that may be shapes only."""
    jax.eval_shape(lambda params: (check(params), None)[1], params)


def _layers(cell: Cell, tree: Mapping[str, Any], name: str) -> tuple[tuple[Any, ...], ...]:
    check_names(name, tree, [f"layer_{layer}" for layer in range(len(tree))])
    layers = []
    for layer in range(len(tree)):
        path, directions = f"{name}['layer_{layer}']", tree[f"layer_{layer}"]
        check_names(path, directions, ("forward", "backward") if "backward" in directions else ("forward",))
        layers.append(
            tuple(_cell(cell, directions[d], f"{path}[{d!r}]") for d in ("forward", "backward") if d in directions)
        )
    return tuple(layers)


def _cell(cell: Cell, tree: Mapping[str, Any], name: str) -> Any:
    # Any width does: the structure does not depend on it.
    like = made_params(cell, 1, 1)
    if isinstance(like, GRUParams):
        biases = (like.w_i if bias in tree else None for bias in ("b_i", "b_h"))
        like = GRUParams(like.w_i, like.w_h, *biases)
    return from_dict(as_dict, jax.tree.structure(like), tree, name)


def _encoder_decoder(cell: Cell, tree: Mapping[str, Any]) -> EncoderDecoderParams:
    check_names("params", tree, EncoderDecoderParams._fields)
    kind = AdditiveAttentionParams if "w_q" in tree["attention"] else DotProductAttentionParams
    check_names("params['attention']", tree["attention"], kind._fields)
    bridge = [tree["bridge"][f"layer_{layer}"] for layer in range(len(tree["bridge"]))]
    return EncoderDecoderParams(
        encoder=_layers(cell, tree["encoder"], "params['encoder']"),
        bridge=tuple(tuple(BridgeParams(**leaves[f"leaf_{leaf}"]) for leaf in range(len(leaves))) for leaves in bridge),
        decoder=_layers(cell, tree["decoder"], "params['decoder']"),
        attention=kind(**tree["attention"]),
        **{name: tree[name] for name in ("w_c", "b_c", "w_o", "b_o")},
    )
