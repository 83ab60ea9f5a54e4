"""A trained model as programs of `jax.export`: StableHLO with the parameters inside, free in batch and time."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

import gru_jax
import gru_jax.export
from experiments.export.signature import Signature, Value, model_inputs, pools, step_signature
from experiments.tasks import Task
from experiments.tasks.inputs import Frames, Judged

PLATFORMS = ("cpu", "cuda", "tpu")


def call_program(task: Task, model: Any, params: Any, signature: Signature) -> export.Exported:
    """A call of the model: ``exported.call(**inputs)`` gives the outputs by name, all named as in ``signature``."""

    def call(**named: Any) -> dict[str, Any]:
        inputs, lengths = model_inputs(task, named), named.get("seq_lengths")
        if pools(model):
            return model.apply(params, inputs, lengths, method="pooled")._asdict()
        return {"outputs": model.apply(params, inputs, lengths)}

    return _export(call, **_shapes(signature.inputs))


def search_program(task: Task, model: Any, params: Any, signature: Signature) -> export.Exported:
    """The search of an encoder-decoder, called as `call_program` is."""

    def search(**named: Any) -> dict[str, Any]:
        return model.apply(params, model_inputs(task, named), named["seq_lengths"], method="translate")._asdict()

    return _export(search, **_shapes(signature.inputs))


def streams(model: Any, inputs: Any) -> bool:
    """Whether the model can run step by step, with an output after each: it has `advance`, in one direction.

    ``inputs``: those of any batch; `Judged` ones rest on whole rows, which are not known on the way.
    """
    outputs = ("every",) if isinstance(getattr(model, "inputs", None), Frames) else ("every", "last")
    one_direction = hasattr(model, "advance") and not model.bidirectional
    return one_direction and model.readout in outputs and not isinstance(inputs, Judged)


def step_program(task: Task, model: Any, params: Any) -> tuple[export.Exported, Signature]:
    """One step of a stream: ``exported.call(**carry, **inputs)`` gives the next carry and the outputs, all by name."""

    def advance(carry: Any, named: Mapping[str, Any]) -> tuple[Any, jax.Array]:
        one_step = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 1), model_inputs(task, named))
        carry, outputs = model.apply(params, one_step, carry, method="advance")
        return carry, outputs[:, 0]

    inputs = _shapes(step_signature(task, model, {}).inputs)
    like, _ = jax.eval_shape(lambda: advance(None, jax.tree.map(_zeros_of_one_row, inputs)))
    states, structure = jax.tree.flatten(like)
    names = _names(like)

    def step(**named: Any) -> dict[str, Any]:
        carry, outputs = advance(structure.unflatten([named[name] for name in names]), named)
        return dict(zip(names, jax.tree.leaves(carry), strict=True)) | {"outputs": outputs}

    signature = step_signature(task, model, dict(zip(names, states, strict=True)))
    return _export(step, **_shapes(signature.inputs)), signature


def _names(carry: Any) -> list[str]:
    """Names of the arrays of a carry[layer][direction] of one direction: carry_0, or carry_0_h and carry_0_c."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(carry)]
    return ["_".join(["carry", str(path[0].idx), *(key.name for key in path[2:])]) for path in paths]


def _zeros_of_one_row(shape: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.zeros((1, *shape.shape[1:]), shape.dtype)


def _shapes(values: tuple[Value, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes by name, with one symbol for each size that is free."""
    free = list(dict.fromkeys(size for value in values for size in value.shape if isinstance(size, str)))
    symbols: dict[Any, Any] = dict(zip(free, export.symbolic_shape(", ".join(free)), strict=True))
    return {
        value.name: jax.ShapeDtypeStruct(tuple(symbols.get(size, size) for size in value.shape), value.dtype)
        for value in values
    }


def _export(function: Callable[..., Any], **shapes: jax.ShapeDtypeStruct) -> export.Exported:
    with gru_jax.export.without_locations():
        return export.export(jax.jit(function), platforms=PLATFORMS)(**shapes)
