"""What goes into an exported model and what comes out, by name: the same names in ONNX and in StableHLO."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.models.encoder_decoder import EncoderDecoder
from experiments.models.ensemble import Ensemble
from experiments.tasks import Quantiles, Task
from experiments.tasks.inputs import Frames, Judged, MeasuredFeatures, Measurements, Sentences, SourceAndTarget, Tokens

_LISTED = 60
"""The names of classes are listed if they take at most so many characters."""


class Value(NamedTuple):
    """One array."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    """Free sizes are named: "batch", "time"."""
    meaning: str


class Signature(NamedTuple):
    """What a call takes and what it gives."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def call_signature(task: Task, model: Any, inputs: Any) -> Signature:
    """The signature of a call of the model; ``inputs``: those of any batch, which tell whether they are `Judged`."""
    values = (*_inputs(task, isinstance(inputs, Judged)), *_lengths(task))
    return Signature(values, _outputs(task, model))


def search_signature(sentences: Sentences) -> Signature:
    """The signature of the search of an encoder-decoder."""
    steps = sentences.max_steps
    outputs = (
        Value("tokens", "int32", ("batch", steps), f"the target found, {sentences.end} from its end on"),
        Value("lengths", "int32", ("batch",), "how many of them, with the end token"),
        Value("weights", "float32", ("batch", steps, "time"), "how much each step attended to each source token"),
    )
    return Signature((_source(sentences), _LENGTHS), outputs)


def step_signature(task: Task, model: Any, carry: Mapping[str, Any]) -> Signature:
    """The signature of one step; ``carry``: the arrays of the carry, or their shapes, by name."""
    outputs = Value("outputs", "float32", ("batch", task.outputs), f"after this step, {_meaning(task, model)}")
    inputs = [value._replace(shape=("batch", *value.shape[2:])) for value in _inputs(task, judged=False)]
    before, after = (
        [Value(name, str(leaf.dtype), ("batch", *leaf.shape[1:]), meaning) for name, leaf in carry.items()]
        for meaning in ("the state before this step; zeros at the start", "the state after it")
    )
    return Signature((*before, *inputs), (*after, outputs))


def model_inputs(task: Task, named: Mapping[str, Any]) -> Any:
    """The inputs that the model's methods take, from arrays by name."""
    if isinstance(task.inputs, Sentences):
        # A search looks at no target.
        return SourceAndTarget(named["source"], named.get("target_in"))
    if isinstance(task.inputs, MeasuredFeatures):
        return Measurements(*(named[name] for name in Measurements._fields))
    return Judged(named["inputs"], named["judged_logits"]) if "judged_logits" in named else named["inputs"]


_LENGTHS = Value("seq_lengths", "int32", ("batch",), "how many steps of each row count, 0..time; the rest is padding")


def _lengths(task: Task) -> tuple[Value, ...]:
    # Films have no padding.
    return () if isinstance(task.inputs, Frames) else (_LENGTHS,)


def _source(sentences: Sentences) -> Value:
    meaning = f"tokens of the source, each within 0..{sentences.source_vocabulary - 1}"
    return Value("source", "int32", ("batch", "time"), meaning)


def _inputs(task: Task, judged: bool) -> tuple[Value, ...]:
    inputs, steps = task.inputs, ("batch", "time")
    if isinstance(inputs, Sentences):
        last = inputs.target_vocabulary - 1
        meaning = f"{inputs.start}, the start, then the target without its last token, each within 0..{last}"
        return _source(inputs), Value("target_in", "int32", ("batch", "target_time"), meaning)
    if isinstance(inputs, Frames):
        shape = (*steps, inputs.height, inputs.width, inputs.channels)
        return (Value("inputs", "float32", shape, f"frames, as task {task.name} makes them"),)
    if isinstance(inputs, MeasuredFeatures):
        shape = (*steps, inputs.features)
        meanings = ("values, 0 where not observed", "1 where observed, else 0", "time since each was last observed")
        named = zip(Measurements._fields, meanings, strict=True)
        return tuple(Value(name, "float32", shape, meaning) for name, meaning in named)
    if not isinstance(inputs, Tokens):
        return (Value("inputs", "float32", (*steps, inputs.features), f"vectors, as task {task.name} makes them"),)
    tokens = Value("inputs", "int32", steps, f"tokens, each within 0..{inputs.vocabulary - 1}")
    meaning = f"of the regression of task {task.name}; the model adds its own to them"
    logits = Value("judged_logits", "float32", ("batch", task.outputs), meaning)
    return (tokens, logits) if judged else (tokens,)


def _outputs(task: Task, model: Any) -> tuple[Value, ...]:
    if isinstance(model, EncoderDecoder):
        shape = ("batch", "target_time", task.outputs)
        return (Value("outputs", "float32", shape, "logits of the token after each of target_in"),)
    shape = ("batch", "time", task.outputs) if task.per_step else ("batch", task.outputs)
    meaning = f"after each step, {_meaning(task, model)}" if task.per_step else _meaning(task, model)
    outputs = Value("outputs", "float32", shape, meaning)
    if not pools(model):
        return (outputs,)
    return outputs, Value("weights", "float32", ("batch", "time"), "how much the outputs rest on each step; sum 1")


def pools(model: Any) -> bool:
    """Whether the model's method `pooled` gives weights of the steps."""
    member = model.member if isinstance(model, Ensemble) else model
    return hasattr(member, "pooled") and member.readout == "attention"


def _meaning(task: Task, model: Any) -> str:
    if isinstance(task.loss, Quantiles):
        levels = task.loss.levels
        return f"{task.outputs // len(levels)} values, of each the quantiles {', '.join(map(str, levels))} side by side"
    if task.loss == "squared_error":
        return f"{task.outputs} values, as task {task.name} makes its targets"
    if task.loss == "bernoulli":
        return f"logits of {task.outputs} yes or no answers"
    names = ", ".join(task.class_names)
    of = f"the classes {names}" if 0 < len(names) <= _LISTED else f"{task.outputs} classes"
    return f"{'log-probabilities' if isinstance(model, Ensemble) else 'logits'} of {of}"
