"""`python -m experiments export`: a run of two steps in every format, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors
import yaml

import gru_jax.export
import gru_jax.interop
from experiments import cli
from experiments.runs.directory import RunDirectory
from experiments.training.trained import restore_trained
from tests.experiments.results.written_runs import write_run

TINY = """
task: {name: copy, length: 2, symbols: 3, delay: 1, validation_rows: 8, test_rows: 30}
model: {features: 6, cell: {name: gru, update_gate: write}}
training: {steps: 2, batch_size: 4, log_every: 1, eval_every: 1, keep_best: true}
checkpoint: {every: 1}
logging: {tensorboard: false, plots: false}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(TINY)
    assert cli.main(["train", str(folder / "tiny.yaml"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def trained(run):
    directory = RunDirectory(run)
    return restore_trained(directory.read_config(), directory)


def export(run, to, capsys, *arguments):
    """What the command prints."""
    assert cli.main(["export", str(run), "--to", to, *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_onnx_has_the_metrics_of_the_run(run, trained, capsys):
    out = export(run, "onnx", capsys)
    file = run / "export" / "model.onnx"
    step = json.loads((run / "summary.json").read_text())["best_step"]
    assert out.splitlines()[0] == f"{run}: best parameters at step {step} of 2"
    assert str(file) in out
    assert re.search(r"in +inputs +int32 +\(batch, time\) +tokens, each within 0\.\.4", out)
    assert re.search(r"out +outputs +float32 +\(batch, time, 3\) +after each step, logits of 3 classes", out)
    session, right = onnxruntime.InferenceSession(str(file)), []
    for batch in trained.experiment.task.split_batches("test", 16):
        lengths = np.full(len(batch.inputs), batch.inputs.shape[1], np.int32)
        (outputs,) = session.run(None, {"inputs": batch.inputs, "seq_lengths": lengths})
        right.append((outputs.argmax(axis=-1) == batch.targets)[batch.weights > 0])
    accuracy = json.loads((run / "summary.json").read_text())["test"]["accuracy"]
    assert np.concatenate(right).mean() == pytest.approx(accuracy, abs=1e-6)


def test_files_say_which_equations_and_which_config(run, trained, capsys, tmp_path):
    export(run, "onnx", capsys, "--output", tmp_path / "a.onnx")
    export(run, "safetensors", capsys, "--output", tmp_path / "a.safetensors")
    in_onnx = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert file.metadata() == in_onnx
    assert "h' = (1 - z) ∘ h + z ∘ n" in in_onnx["gru_jax.equations"]
    assert in_onnx["gru_jax.options.update_gate"] == "write"
    assert yaml.safe_load(in_onnx["experiments.config"]) == yaml.safe_load((run / "config.yaml").read_text())
    assert in_onnx["experiments.parameters"] == f"best, of step {trained.step}"


def test_safetensors_gives_the_parameters_back_bit_for_bit(run, trained, capsys):
    out = export(run, "safetensors", capsys)
    file, layers = run / "export" / "model.safetensors", run / "export" / "model_recurrent.safetensors"
    assert f"{file}  " in out
    assert f"{layers}  " in out
    arrays = gru_jax.interop.read_safetensors(file)
    leaves = jax.tree_util.tree_leaves_with_path(trained.params["params"])
    expected = {"/".join(key.key for key in path): leaf for path, leaf in leaves}
    assert "recurrent/layer_0/forward/w_i" in arrays
    assert sorted(arrays) == sorted(expected)
    for path, leaf in expected.items():
        np.testing.assert_array_equal(arrays[path], np.asarray(leaf), strict=True)
    cell, params = gru_jax.interop.load_safetensors(layers)
    assert cell == gru_jax.gru(update_gate="write")
    np.testing.assert_array_equal(params[0][0].w_h, arrays["recurrent/layer_0/forward/w_h"])


def test_stablehlo_is_the_model_and_a_step_of_it(run, trained, capsys):
    out = export(run, "stablehlo", capsys)
    folder = run / "export"
    assert str(folder / "model_step.stablehlo") in out
    (batch,) = trained.experiment.task.split_batches("test", 100)
    lengths = np.full(len(batch.inputs), batch.inputs.shape[1], np.int32)
    call = gru_jax.export.load_stablehlo(folder / "model.stablehlo").call
    whole = call(inputs=batch.inputs, seq_lengths=lengths)["outputs"]
    expected = jax.jit(trained.experiment.model.apply)(trained.params, batch.inputs)
    np.testing.assert_allclose(whole, expected, rtol=0, atol=2e-6)
    first = gru_jax.export.load_stablehlo(folder / "model_step.stablehlo").call(
        carry_0=np.zeros((len(lengths), 6), np.float32), inputs=batch.inputs[:, 0]
    )
    np.testing.assert_allclose(first["outputs"], whole[:, 0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("to", ["onnx", "safetensors", "stablehlo"])
def test_the_same_bytes_again_and_no_drafts(to, run, capsys, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        export(run, to, capsys, "--output", tmp_path / folder / "model")
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert one == two
    assert set(one) <= {"model", "model_step", "model_recurrent"}


def refused(*arguments, capsys):
    """The line of an export that is refused."""
    assert cli.main(["export", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_is_no_finished_run(tmp_path, capsys, run):
    assert "no such run directory" in refused(tmp_path / "nowhere", "--to", "onnx", capsys=capsys)
    write_run(tmp_path / "going_on")
    assert "not finished; the command in" in refused(tmp_path / "going_on", "--to", "onnx", capsys=capsys)
    write_run(tmp_path / "diverged", test=0.5, status="diverged", diverged_at_step=7)
    assert "diverged at step 7" in refused(tmp_path / "diverged", "--to", "onnx", capsys=capsys)
    for key, what in {"contenders": "a bench", "compare": "a comparison"}.items():
        (tmp_path / key).mkdir()
        (tmp_path / key / "config.yaml").write_text(f"{key}: []\n")
        assert what in refused(tmp_path / key, "--to", "onnx", capsys=capsys)
    shutil.copytree(run, tmp_path / "lost")
    shutil.rmtree(tmp_path / "lost" / "checkpoints")
    assert "no checkpoint yet" in refused(tmp_path / "lost", "--to", "onnx", capsys=capsys)


def test_formats_and_files_that_cannot_be(run, tmp_path, capsys, monkeypatch):
    assert "--to: expected one of onnx, safetensors, stablehlo, got tflite" in refused(
        run, "--to", "tflite", capsys=capsys
    )
    assert "got the directory" in refused(run, "--to", "onnx", "--output", tmp_path, capsys=capsys)
    missing = tmp_path / "nowhere" / "model.onnx"
    assert "no such directory; make it first" in refused(run, "--to", "onnx", "--output", missing, capsys=capsys)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = refused(run, "--to", "stablehlo", capsys=capsys)
    assert 'needs the package flatbuffers, which is not installed: pip install "gru_jax[interop]"' in line


@pytest.mark.parametrize(
    ("task", "cell", "what"),
    [
        ("{name: copy}", "min_gru", "its model is min_gru"),
        ("{name: patients, missing: decay}", "gru_d", "its model is gru_d"),
        ("{name: video}", "conv_gru", "its model is conv_gru"),
        ("{name: video}", "gru", "a model of frames"),
        ("{name: translation}", "lstm", "an encoder-decoder"),
    ],
)
def test_what_onnx_lacks_is_told_before_data_is_looked_for(task, cell, what, tmp_path, capsys):
    write_run(tmp_path / "run", task=task, settings=[f"model.cell={cell}"], test=0.5, status="complete")
    line = refused(tmp_path / "run", "--to", "onnx", capsys=capsys)
    assert what in line
    assert line.endswith("use --to stablehlo")
    assert not Path(tmp_path / "run" / "export").exists()
