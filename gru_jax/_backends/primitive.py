"""Primitives over arrays with lanes, which a kernel lowers or the default program.

A primitive is a function of JAX that transformations see whole. vmap over it is a wider batch where weights are shared,
and more lanes elsewhere; there is no third way. What is lowered is decided last, when the platform is known: the
program of pure JAX, or the kernel that the table names.

All that this needs of JAX beyond its public interface stands in this file and in `partitioned`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gru_jax._backends import platforms
from gru_jax._backends.backend import BACKENDS, Backend, Problem
from gru_jax._backends.lanes import (
    Place,
    can_fold,
    count_lanes,
    fold_in,
    lane_in,
    place_of_state,
    sharding_of_mapped,
    split_axis,
)
from gru_jax._backends.partitioned import cut_by, partitioned

NO_MESH = jax.sharding.AbstractMesh((), ())


class LanePrimitive:
    """A primitive over arrays with lanes.

    Attributes:
      name: in jaxprs; a kernel's lowering is the attribute of `Backend` that `kernel` names.
      program: `(static, operands, platform) -> outputs`, the default lowering: states with lanes, in any tree.
      places: `operands -> [Place]`, one for each leaf; looks at ranks alone.
      leader: `operands -> leaf`. vmap makes the batch wider where this one is mapped; elsewhere, that would repeat what
        is computed from it alone.
      problem: `(static, operands) -> Problem`, its platform left open.
    """

    def __init__(
        self,
        name: str,
        program: Callable[..., Any],
        *,
        kernel: str,
        places: Callable[[Any], list[Place]],
        leader: Callable[[Any], Any],
        problem: Callable[[Any, Any], Problem],
    ) -> None:
        self.name, self.program, self.kernel = name, program, kernel
        self.places, self.leader, self.problem = places, leader, problem
        self.primitive = Primitive(name)
        self.primitive.multiple_results = True
        self.primitive.def_impl(self._run)
        self._compiled = jax.jit(self._bind, static_argnames=("static", "tree"))
        self.primitive.def_abstract_eval(lambda *avals, static, tree: self._outputs_of(avals, static, tree)[0])
        batching.primitive_batchers[self.primitive] = self._batch
        mlir.register_lowering(self.primitive, self._lower)
        needs_devices(self.primitive)
        self._outputs = functools.lru_cache(maxsize=1024)(self._outputs)

    def __call__(self, static: Any, operands: Any) -> Any:
        """The outputs; `static` is hashable and has `how`, operands that are None stay None."""
        leaves, tree = jax.tree.flatten(operands)
        outs = self.primitive.bind(*leaves, static=static, tree=tree)
        return self._outputs_of(tuple(map(jax.typeof, leaves)), static, tree)[1].unflatten(outs)

    def def_jvp(self, rule: Callable[[Any, Any, Any], tuple[Any, Any]]) -> None:
        """The derivative: `(static, operands, tangents) -> (outputs, their tangents)`; a tangent of None is zero."""

        def jvp(leaves: Any, tangents: Any, *, static: Any, tree: Any) -> tuple[list[Any], list[Any]]:
            known = [None if type(tangent) is ad.Zero else tangent for tangent in tangents]
            outs, d_outs = rule(static, tree.unflatten(leaves), tree.unflatten(known))
            return jax.tree.leaves(outs), jax.tree.leaves(d_outs)

        ad.primitive_jvps[self.primitive] = jvp

    def def_transpose(self, rule: Callable[[Any, Any, Any], Any]) -> None:
        """The transpose: `(static, operands, cotangents) -> cotangents of operands`, None for zero.

        Operands that are not known are `jax.interpreters.ad.UndefinedPrimal`.
        """

        def transpose(cotangents: Any, *leaves: Any, static: Any, tree: Any) -> list[Any]:
            known = tuple(leaf.aval if ad.is_undefined_primal(leaf) else jax.typeof(leaf) for leaf in leaves)
            outs = self._outputs_of(known, static, tree)[1]
            given = outs.unflatten([None if type(ct) is ad.Zero else ct for ct in cotangents])
            return rule(static, tree.unflatten(leaves), given)

        ad.primitive_transposes[self.primitive] = transpose

    def _run(self, *leaves: Any, static: Any, tree: Any) -> Any:
        # Compiled also where jit is turned off: bound once more without it, this would never end.
        with jax.disable_jit(False):
            return self._compiled(*leaves, static=static, tree=tree)

    def _bind(self, *leaves: Any, static: Any, tree: Any) -> Any:
        return self.primitive.bind(*leaves, static=static, tree=tree)

    def _outputs_of(self, avals: Any, static: Any, tree: Any) -> tuple[Any, Any]:
        """The types and the tree of what is returned, sharding and varying axes as the default program has them."""
        # A type names the mesh that is set, which the operands' types need not tell.
        return self._outputs(avals, static, tree, jax.sharding.get_abstract_mesh())

    def _outputs(self, avals: Any, static: Any, tree: Any, mesh: Any) -> tuple[Any, Any]:
        structures: list[Any] = []

        def flat(*leaves: Any) -> list[Any]:
            outs, structure = jax.tree.flatten(self.program(static, tree.unflatten(leaves), None))
            structures.append(structure)
            return outs

        return jax.make_jaxpr(flat)(*avals).out_avals, structures[-1]

    def _batch(self, leaves: Any, mapped: Any, *, static: Any, tree: Any) -> tuple[list[Any], list[int]]:
        shapes = [_unmapped(leaf, m) for leaf, m in zip(leaves, mapped, strict=True)]
        places = self.places(tree.unflatten(shapes))
        size = next(leaf.shape[m] for leaf, m in zip(leaves, mapped, strict=True) if m is not None)
        lanes = count_lanes(shapes, places)
        all_of = list(zip(leaves, mapped, places, strict=True))
        if self.leader(tree.unflatten([m is not None for m in mapped])) and can_fold(leaves, mapped, places):
            rows = next(shape.shape[place.batch] for shape, place in zip(shapes, places, strict=True) if place.batch)
            outs = self(static, tree.unflatten([fold_in(leaf, m, place, size) for leaf, m, place in all_of]))
            axes, sizes = [place_of_state(out).lanes + 1 for out in jax.tree.leaves(outs)], (size, rows)
        else:
            sharded = sharding_of_mapped(leaves, mapped)
            more = [lane_in(leaf, m, place, size, lanes, sharded) for leaf, m, place in all_of]
            outs = self(static, tree.unflatten(more))
            axes, sizes = [place_of_state(out).lanes for out in jax.tree.leaves(outs)], (size, lanes)
        return [split_axis(out, axis, sizes) for out, axis in zip(jax.tree.leaves(outs), axes, strict=True)], axes

    def _lower(self, context: Any, *values: Any, static: Any, tree: Any) -> Any:
        operands = tree.unflatten(context.avals_in)
        platform = platforms.named(context.platforms or context.module_context.platforms)
        problem = self.problem(static, operands)._replace(platform=platform)
        cut = cut_by(context)
        kernel = kernel_for(static.how.backend, problem, exported=_is_exported(context), shared=cut == "both")
        run = functools.partial(self.program, platform=platform)
        if kernel is not None:
            run = self._lowering_of(kernel, problem, run, many=cut == "compiler")
            # A kernel knows of shapes and dtypes alone: how its operands are sharded is not its business.
            plain = [jax.core.ShapedArray(aval.shape, aval.dtype) for aval in context.avals_in]
            context = context.replace(avals_in=plain)

        def flat(*leaves: Any) -> list[Any]:
            return jax.tree.leaves(run(static, tree.unflatten(leaves)))

        return mlir.lower_fun(flat, multiple_results=True)(context, *values)

    def _lowering_of(self, kernel: Backend, problem: Problem, default: Any, *, many: bool) -> Callable[[Any, Any], Any]:
        """The kernel as a program, under a name that profilers show."""

        def run(static: Any, operands: Any) -> Any:
            # Asked again, as a shard is smaller than the whole.
            local = self.problem(static, operands)._replace(platform=problem.platform)
            reason = kernel.refuses(local)
            if reason and static.how.backend != "auto":
                raise ValueError(
                    f'backend: "{kernel.name}" cannot run the part of a device, {local.batch} rows: {reason}; '
                    'pass backend="auto" or "fused".'
                )
            chosen = default if reason else getattr(kernel, self.kernel)
            # Without the mesh that is set: a kernel's arrays are whole, or a device's own.
            with jax.named_scope(f"{self.name}.{kernel.name}"), jax.sharding.use_abstract_mesh(NO_MESH):
                return chosen(static, operands)

        return partitioned(run, self.places) if many else run


def kernel_for(backend: str, problem: Problem, *, exported: bool, shared: bool) -> Backend | None:
    """The kernel that lowers this problem, or None for the default program.

    `exported` is whether the program is, `shared` whether `jax.shard_map` and the compiler both cut its arrays.

    Raises:
      ValueError: for a kernel that was asked for by name and cannot serve.
    """
    reason = _no_call(problem, exported, shared)
    if backend == "auto":
        if reason:
            return None
        first = next(platforms.backends_for(problem))
        return first if first.is_kernel else None
    asked = BACKENDS[backend]
    if not asked.is_kernel:
        return None
    reason = reason or asked.refuses(problem)
    if reason:
        raise ValueError(f'backend: "{backend}" cannot run here: {reason}; pass backend="auto" or "fused".')
    return asked


def _no_call(problem: Problem, exported: bool, shared: bool) -> str:
    """Why no kernel may be called, whichever it is, or ""."""
    if exported:
        return "an exported program holds no call of this library's"
    if shared:
        return "jax.shard_map leaves axes of the mesh to the compiler"
    if problem.platform is None:
        return "it is lowered for several platforms at once"
    if not all(isinstance(size, int) for size in (problem.steps, problem.batch)):
        return "the number of steps or rows is symbolic"
    return ""


def _unmapped(leaf: Any, mapped: int | None) -> Any:
    """The leaf's shape and type without its mapped axis."""
    shape = tuple(size for axis, size in enumerate(leaf.shape) if axis != mapped)
    return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _is_exported(context: Any) -> bool:
    return context.module_context.lowering_parameters.for_export


def needs_devices(primitive: Any) -> None:
    """Tell JAX that lowering this primitive asks for the devices, as `partitioned` does."""
    from jax._src import dispatch

    dispatch.prim_requires_devices_during_lowering.add(primitive)
