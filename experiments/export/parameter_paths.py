"""All parameters of a model by path."""

from typing import Any

import flax.traverse_util


def by_path(params: Any) -> dict[str, Any]:
    """Arrays of a model's variables by path, such as "recurrent/layer_0/forward/w_i", in order of the paths."""
    return dict(sorted(flax.traverse_util.flatten_dict(params["params"], sep="/").items()))
