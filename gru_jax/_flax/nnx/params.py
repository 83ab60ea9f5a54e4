"""Params as NNX keeps them: a Param for each array, in nested nnx.Dicts named as in linen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx
from flax.core.meta import AxisMetadata
from flax.nnx.bridge.variables import to_nnx_var

from gru_jax._cells.boxes import Boxes, unboxed
from gru_jax._flax.param_names import Naming, as_dict, from_dict, matched


class OwnsParams(nnx.Module):
    """A module whose parameters are the arrays of one tree of params, which can be read and set as a whole."""

    _naming: Naming = staticmethod(as_dict)

    def _own(self, params: Any, boxes: Boxes | None = None) -> None:
        """Keep params as parameters, each with the metadata of the box that it is in or came out of."""
        # The underscore keeps it out of repr, where it would add nothing to the names of the parameters.
        self._structure = jax.tree.structure(unboxed(params))
        for name, value in self._naming(params if boxes is None else boxes.put_back(params)).items():
            setattr(self, name, _as_variables(value))

    @property
    def params(self) -> Any:
        """The parameters, as the functions of gru_jax take them.

        They can be set as a whole, `module.params = params`, to arrays of the same names, shapes and dtypes.
        """
        return jax.tree.map(lambda variable: variable.get_value(), self._variables(), is_leaf=_is_variable)

    @params.setter
    def params(self, params: Any) -> None:
        variables = jax.tree.leaves(self._variables(), is_leaf=_is_variable)
        for variable, value in zip(variables, matched(self.params, params), strict=True):
            variable.set_value(value)

    def _variables(self) -> Any:
        # By the names of the structure, since a module has other attributes too.
        names = self._naming(self._structure.unflatten(range(self._structure.num_leaves)))
        return from_dict(self._naming, self._structure, {name: _as_tree(getattr(self, name)) for name in names})

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            # NNX would keep the value as an attribute of its own, and refuses arrays there.
            if isinstance(getattr(type(self), name, None), property):
                object.__setattr__(self, name, value)
            else:
                super().__setattr__(name, value)


def _is_variable(value: Any) -> bool:
    return isinstance(value, nnx.Variable)


def _as_tree(node: Any) -> Any:
    """Variables in nested dicts, without what others keep on an nnx.Dict, as `nnx.tabulate` does.

    It does not use `.items()`, since `nnx.tabulate` replaces all methods of what it looks at.
    """
    if _is_variable(node):
        return node
    return {name: _as_tree(node[name]) for name in node if isinstance(node[name], nnx.Variable | nnx.Dict)}


def _as_variables(tree: Any) -> Any:
    """Nested dicts of arrays, some of them in boxes, as NNX keeps them."""
    if isinstance(tree, Mapping):
        return nnx.Dict({name: _as_variables(value) for name, value in tree.items()})
    if not isinstance(tree, AxisMetadata):
        return nnx.Param(tree)
    # As in linen, names of axes say where an array may go, and do not send it there when it is made.
    with nnx.use_eager_sharding(False):
        return to_nnx_var("params", tree)
