"""Begins a training with the weights of another run (``model.start``), and says which parts of them are taken.

A part is a layer at the top of the model: ``input_layer``, ``recurrent``, ``output_layer`` and so on. Shapes alone do
not say that a part means the same: a read-out belongs to its classes, and vectors of tokens belong to these tokens.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments import tasks
from experiments.runs.checkpoints import saved_steps
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.runs.start_check import KEY, check
from experiments.system.errors import UserError, named_by
from experiments.tasks import Task
from experiments.tasks.inputs import Sentences, Tokens
from experiments.training.experiment import Experiment
from experiments.training.trained import last_as_saved

_READOUT = ("output_layer", "target_layer")
_OF_TOKENS = ("input_layer", "source_layer")
_NEEDED = ("recurrent", "core")
# The read-out of an encoder-decoder stands within its core.
_WITHIN: dict[tuple[str, ...], str] = {("core", "w_o"): "output_layer", ("core", "b_o"): "output_layer"}


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run begins with."""

    params: Any
    """The variables of the model."""
    run: str
    step: int
    """The step of that run that the weights come from."""
    origin: str
    """Which weights they are: "final" or "best"."""
    taken: list[str]
    """The parts whose weights come from that run."""
    anew: dict[str, str]
    """Parts that begin at random, and why."""

    def facts(self) -> dict[str, Any]:
        """What environment.json and the summary say of the start."""
        return {
            "run": self.run,
            "step": self.step,
            "parameters_from": self.origin,
            "taken": self.taken,
            "anew": self.anew,
        }

    def lines(self) -> list[str]:
        """Lines for the terminal."""
        first = f"{self.origin} parameters at step {self.step} of {self.run}; taken: {', '.join(self.taken)}"
        return [first, *(f"not taken: {part}, {why}" for part, why in self.anew.items())]


def begin(experiment: Experiment, params: Any) -> Start | None:
    """The start that the config of ``experiment`` asks for in place of the random ``params``; None: it asks for none.

    Raises UserError where the run is not finished, or its layers are of other sizes or read other inputs.
    """
    there = check(experiment.config)
    if there is None:
        return None
    run = RunDirectory(str(experiment.config.model.start))
    with named_by(KEY):
        found, step, origin = last_as_saved(run, _last_step(run, there))
    theirs = _parts(found)
    ours = _parts(params)
    alike = _Meanings(experiment, there, run)
    values: dict[tuple[str, ...], Any] = {}
    taken, anew = [], {}
    for part, leaves in ours.items():
        why = _refusal(part, leaves, theirs.get(part), alike, ours)
        if why:
            anew[part] = why
        else:
            taken.append(part)
            values |= theirs[part]
    return Start(_replace(params, values), str(run), step, origin, taken, anew)


def _last_step(run: RunDirectory, config: Config) -> int:
    steps = saved_steps(run.checkpoints)
    if not steps or steps[-1] != config.training.steps:
        raise UserError(f"{run.checkpoints}: no checkpoint of step {config.training.steps}, the last; put it back")
    return steps[-1]


def _refusal(
    part: str,
    ours: Mapping[Any, Any],
    theirs: Mapping[Any, Any] | None,
    alike: "_Meanings",
    all_of_ours: Mapping[str, Any],
) -> str:
    """Why a part begins at random, or "" if it is taken; UserError for a part that no start can do without."""
    if theirs is None:
        return "which that run has not"
    sizes, others = ({path[-1]: jnp.shape(leaf) for path, leaf in leaves.items()} for leaves in (ours, theirs))
    shapes, other_shapes = ({path: jnp.shape(leaf) for path, leaf in leaves.items()} for leaves in (ours, theirs))
    if shapes != other_shapes:
        different = [key for key in sizes if sizes[key] != others.get(key)] or list(sizes)
        key = different[0]
        said = f"{key} is {others.get(key, 'absent')} there and {sizes[key]} here"
        if part in _NEEDED:
            raise UserError(
                f"{KEY}: {alike.run}: its {part} layers are of other sizes ({said}), as they read other inputs; "
                "give both runs the same model.input_features, or start from another run"
            )
        return f"whose {said}"
    if part in _READOUT and (why := alike.classes()):
        return why
    if alike.reads_tokens and (why := alike.tokens()):
        if part in _OF_TOKENS:
            return why
        if part == "recurrent" and "input_layer" not in all_of_ours:
            raise UserError(
                f"{KEY}: {alike.run}: its recurrent layers read tokens one-hot, {why}; give both runs an input layer "
                "(model.input_features), or start from another run"
            )
    return ""


class _Meanings:
    """Whether classes and tokens mean the same in two runs; each answer is "" or why not."""

    def __init__(self, experiment: Experiment, there: Config, run: RunDirectory):
        self.run, self._here = run, experiment.task
        self.reads_tokens = isinstance(experiment.task.inputs, Tokens | Sentences)
        data = (run.read_environment() or {}).get("data") or {}
        self._same_data = data.get("sha256") == experiment.task.facts.get("sha256")
        self._same_task = there.task == experiment.config.task and self._same_data
        self._there_config = there
        self._there: Task | UserError | None = None

    def _other(self) -> Task | None:
        if self._there is None:
            try:
                tasks.check_data(self._there_config.task)
                self._there = tasks.build(self._there_config.task)
            except UserError as error:
                self._there = error
        return None if isinstance(self._there, UserError) else self._there

    def classes(self) -> str:
        """Why the outputs mean other classes, or ""."""
        if self._same_task:
            return ""
        here, there = self._here, self._other()
        if there is None:
            return "since the data of that run is missing, which names its classes"
        if here.outputs != there.outputs or here.loss != there.loss:
            return "which is of other outputs"
        if here.class_names or there.class_names or here.alphabet or there.alphabet:
            named = (here.class_names, here.alphabet) == (there.class_names, there.alphabet)
            return "" if named else "which is of other classes"
        return self._unnamed(there, "which is of another task")

    def tokens(self) -> str:
        """Why the inputs are other tokens, or ""."""
        if self._same_task:
            return ""
        here, there = self._here, self._other()
        if there is None:
            return "since the data of that run is missing, which names its tokens"
        if here.alphabet or there.alphabet:
            return "" if here.alphabet == there.alphabet else "which are of another alphabet"
        return self._unnamed(there, "which are of another task")

    def _unnamed(self, there: Task, of_another_task: str) -> str:
        """Why what has no names differs, or "" in one task on the same data; sentences depend on settings as well."""
        if self._here.name != there.name:
            return of_another_task
        alike = self._same_data and self._here.inputs == there.inputs and not isinstance(there.inputs, Sentences)
        return "" if alike else "which are of other data"


def _parts(params: Any) -> dict[str, dict[tuple[str, ...], Any]]:
    """Leaves by part and path; the leaves of an ensemble hold those of its members side by side."""
    parts: dict[str, dict[tuple[str, ...], Any]] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = tuple(str(key.key) for key in keys)
        own = tuple(key for key in path if key not in ("params", "member"))
        parts.setdefault(_WITHIN.get(own[:2], own[0]), {})[path] = leaf
    return parts


def _replace(params: Any, values: Mapping[tuple[str, ...], Any]) -> Any:
    def pick(keys: Any, leaf: jax.Array) -> jax.Array:
        found = values.get(tuple(str(key.key) for key in keys))
        return leaf if found is None else jnp.asarray(found, leaf.dtype)

    return jax.tree_util.tree_map_with_path(pick, params)
