"""What is asked to be exported, and what cannot be; nothing here imports JAX."""

from pathlib import Path
from typing import NamedTuple

from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.system.errors import UserError
from experiments.system.needed_packages import need
from experiments.system.whole_files import check_folder, check_target

FORMATS = ("onnx", "safetensors", "stablehlo")

# JAX needs flatbuffers to write StableHLO, but does not install it.
_PACKAGES = {"onnx": "onnx", "safetensors": "safetensors", "stablehlo": "flatbuffers"}
_ONNX_CELLS = ("gru", "lstm", "rnn")


class Request(NamedTuple):
    """A finished run, and where its model is to go."""

    directory: RunDirectory
    config: Config
    to: str
    """One of FORMATS."""
    file: Path
    """The model's file; other parts of the model are written beside it, see `beside`."""

    def beside(self, what: str) -> Path:
        """The file of another part: ``model_step.onnx`` beside ``model.onnx``."""
        return self.file.with_name(f"{self.file.stem}_{what}{self.file.suffix}")


def check(run: Path, to: str, output: Path | None) -> Request:
    """What ``export RUN --to TO --output OUTPUT`` asks for; None: a file in the run's folder ``export``.

    Raises UserError if the run is not finished, the format is unknown or has no operators for the model, a package is
    missing, or the file cannot be written.
    """
    if to not in FORMATS:
        raise UserError(f"--to: expected one of {', '.join(FORMATS)}, got {to}")
    directory = RunDirectory(run)
    config, _ = directory.read_finished()
    if to == "onnx":
        _refuse_what_onnx_lacks(directory, config)
    need(_PACKAGES[to], what=f"--to {to}")
    if output is not None:
        # Other parts of the model get files beside this one, so it cannot be a device.
        check_target(output, "--output", devices=False)
    else:
        check_folder(directory.path / "export", "--output")
    return Request(directory, config, to, output or directory.path / "export" / f"model.{to}")


def _refuse_what_onnx_lacks(directory: RunDirectory, config: Config) -> None:
    model = None
    if config.model.cell.name not in _ONNX_CELLS:
        model = f"{config.model.cell.name}, which ONNX has no operator for (it has {', '.join(_ONNX_CELLS)})"
    elif config.task.translates:
        model = "an encoder-decoder, whose search ONNX would have to unroll"
    elif config.task.frame_shape is not None:
        model = "a model of frames, which this export knows no ONNX for"
    if model is not None:
        raise UserError(f"{directory}: its model is {model}; use --to stablehlo")
