"""How a layer of Keras was made; what weights do not keep is refused by name."""

from collections.abc import Mapping
from typing import Any


def is_layer(value: Any) -> bool:
    """Whether this is a layer, and not a list of its weights."""
    return callable(getattr(value, "get_weights", None)) and callable(getattr(value, "get_config", None))


def facts_of(layer: Any) -> dict[str, Any]:
    """The arguments of `from_keras` for a `keras.layers.GRU`, or for a `Bidirectional` around one.

    Raises:
      TypeError, ValueError: naming what makes the layer compute something else than its weights alone say.
    """
    _check_class(layer)
    config = layer.get_config()
    both = isinstance(config.get("backward_layer"), Mapping)
    if both and config.get("merge_mode") != "concat":
        raise ValueError(
            f"merge_mode: expected 'concat', got {config.get('merge_mode')!r}; pass layer.get_weights() and "
            "bidirectional=True, and merge the ys of the directions yourself."
        )
    kinds = [config["layer"], config["backward_layer"]] if both else [{"config": config, "class_name": "GRU"}]
    for kind in kinds:
        if kind.get("class_name") != "GRU":
            raise TypeError(
                f"weights: expected a keras.layers.GRU in both directions, got {kind.get('class_name')}; "
                "gru_jax.interop converts GRUs."
            )
    made = [_options(kind["config"], reads_backwards=d == 1) for d, kind in enumerate(kinds)]
    if made[0] != made[-1]:
        raise ValueError(
            f"weights: expected two directions made alike, got {made[0]} and {made[1]}; convert them apart."
        )
    return made[0] | {"bidirectional": both}


def _check_class(layer: Any) -> None:
    kind = type(layer)
    if kind.__name__ not in ("GRU", "Bidirectional") or not kind.__module__.startswith("keras."):
        raise TypeError(
            f"weights: expected the weights of a keras.layers.GRU, or one, or a Bidirectional around one, got "
            f"{kind.__module__}.{kind.__name__}; pass layer.get_weights() if they are a GRU's."
        )


def _options(config: Mapping[str, Any], *, reads_backwards: bool) -> dict[str, Any]:
    for name, remedy in _OFF.items():
        if config.get(name) and not (name == "go_backwards" and reads_backwards):
            raise ValueError(f"{name}: expected it off, got {config[name]!r}, which weights do not keep; {remedy}.")
    if reads_backwards and not config.get("go_backwards"):
        raise ValueError(
            "go_backwards: expected True of the backward layer, got False; convert the directions one by one."
        )
    if "implementation" in config and "hard_sigmoid" in (config["activation"], config["recurrent_activation"]):
        raise ValueError(
            "activation, recurrent_activation: expected those of Keras 3, got hard_sigmoid of Keras 2, which is "
            "max(0, min(1, 0.2 x + 0.5)); train with another, or write a cell with gru_jax.gru(gate_activation=...)."
        )
    policy = config.get("dtype")
    policy = policy.get("config", {}).get("name") if isinstance(policy, Mapping) else policy
    if policy is not None and policy not in ("float32", "float64", "float16", "bfloat16"):
        raise ValueError(
            f"dtype: expected one of floats, got the policy {policy!r}, by which Keras computes in another than that "
            "of the weights; pass layer.get_weights(), and xs in the dtype to compute in."
        )
    return {name: config[name] for name in ("reset_after", "activation", "recurrent_activation")}


_GET = "pass layer.get_weights()"
_OFF = {
    "go_backwards": f"{_GET}, and run it by gru_jax.scan(..., reverse=True), whose ys stand in the order of xs",
    "stateful": f"{_GET}, and the state to gru_jax.scan as carry",
    "dropout": f"{_GET} to go on without it",
    "recurrent_dropout": f"{_GET} to go on without it",
}
