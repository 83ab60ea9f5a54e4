"""Writes the files of an export."""

from pathlib import Path
from typing import NamedTuple

import gru_jax.export
import gru_jax.interop
from experiments.export.request import Request
from experiments.export.signature import Signature, call_signature, search_signature
from experiments.system.whole_files import naming_errors, write_whole
from experiments.tasks.inputs import Sentences
from experiments.training.experiment import count_parameters
from experiments.training.trained import Trained, restore_trained


class Written(NamedTuple):
    """A file, and what to do with it."""

    path: Path
    use: str
    signature: Signature | None = None
    """None for a file of parameters."""
    note: str = ""
    """In what the file differs from the model of the run; "" if in nothing."""


def export(request: Request) -> tuple[Trained, list[Written]]:
    """Write the model of a run in the format asked for; each file appears complete or not at all.

    Returns the parameters with their step, and the files, the model's first. Raises what `restore_trained` raises.
    """
    trained = restore_trained(request.config, request.directory)
    # Only the default folder, in the run's directory, is ours to make.
    request.file.parent.mkdir(exist_ok=True)
    write = {"onnx": _write_onnx, "safetensors": _write_safetensors, "stablehlo": _write_stablehlo}[request.to]
    with naming_errors(request.file):
        return trained, write(request, trained)


def _write_onnx(request: Request, trained: Trained) -> list[Written]:
    from experiments.export.metadata import metadata
    from experiments.export.onnx_model import onnx_model

    signature = _call_signature(trained)
    model = onnx_model(trained.experiment.model, trained.params, signature, metadata(trained))
    write_whole(request.file, model.SerializeToString())
    use = "onnxruntime.InferenceSession(FILE).run(None, {name: array, ...})"
    return [Written(request.file, use, signature, _note_on_dtype(request))]


def _note_on_dtype(request: Request) -> str:
    # A graph of the same float32 parameters is of use, and onnxruntime has no recurrent operators of narrow floats.
    dtype = request.config.model.dtype
    if dtype == "float32":
        return ""
    return (
        f"computes in float32, where the run computed in {dtype}: outputs differ by rounding; --to stablehlo keeps it"
    )


def _write_safetensors(request: Request, trained: Trained) -> list[Written]:
    from experiments.export.metadata import metadata
    from experiments.export.parameter_paths import by_path
    from experiments.export.stack import stack_of

    gru_jax.interop.write_safetensors(request.file, by_path(trained.params), metadata(trained))
    count = f"{count_parameters(trained.params):,} parameters by path"
    written = [Written(request.file, f"{count}: gru_jax.interop.read_safetensors(FILE)")]
    own = trained.params["params"]
    if "recurrent" in own:
        file, cell = request.beside("recurrent"), trained.experiment.model.cell
        gru_jax.interop.save_safetensors(file, cell, stack_of(cell, own["recurrent"]))
        use = "the recurrent layers alone: cell, params = gru_jax.interop.load_safetensors(FILE)"
        written.append(Written(file, use))
    return written


def _write_stablehlo(request: Request, trained: Trained) -> list[Written]:
    from experiments.export import program

    task, model, params = trained.experiment.task, trained.experiment.model, trained.params
    call = "gru_jax.export.load_stablehlo(FILE).call(name=array, ...)"
    signature = _call_signature(trained)
    programs = [(request.file, call, signature, program.call_program(task, model, params, signature))]
    if isinstance(task.inputs, Sentences):
        signature = search_signature(task.inputs)
        found = program.search_program(task, model, params, signature)
        programs.append((request.beside("search"), f"the search: {call}", signature, found))
    elif program.streams(model, trained.experiment.train_batch(1).inputs):
        step, signature = program.step_program(task, model, params)
        programs.append((request.beside("step"), f"one step of a stream: {call}", signature, step))
    for file, _, _, exported in programs:
        gru_jax.export.save_stablehlo(file, exported)
    return [Written(file, use, signature) for file, use, signature, _ in programs]


def _call_signature(trained: Trained) -> Signature:
    experiment = trained.experiment
    return call_signature(experiment.task, experiment.model, experiment.train_batch(1).inputs)
