"""Runs with model.dtype and model.backend: from training to export, what is recorded, and what a resumed run says."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import gru_jax.export
from experiments import cli
from experiments.config import configs
from experiments.results import report, run_records
from experiments.runs import continuation, metrics_log
from experiments.runs.checkpoints import restore_as_saved
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory
from experiments.training.evaluation import evaluate_checkpoint
from experiments.training.trained import restore_trained
from tests.experiments.trained_runs import at_step, train

STEPS = 12
VALUES = {
    "task": {"name": "copy", "length": 2, "symbols": 3, "delay": 1, "validation_rows": 20, "test_rows": 30},
    "optimizer": {"learning_rate": 0.01},
    "training": {"steps": STEPS, "batch_size": 8, "log_every": 3, "eval_every": 6},
    "checkpoint": {"every": 4},
    "logging": {"tensorboard": False, "plots": False},
}


def config(**model):
    return configs.check(Config, VALUES | {"model": {"features": 6} | model})


RUNS = {
    "float32": config(),
    "bfloat16": config(dtype="bfloat16", backend="scan"),
    "bfloat16, fused": config(dtype="bfloat16", backend="fused"),
    "float16": config(dtype="float16"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directories of finished runs, and what each printed."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for name, one in RUNS.items():
            outcome, printed = train(folder / name, one)
            assert outcome.status == "complete"
            found[name] = folder / name, printed
    return found


@pytest.mark.parametrize("name", [name for name in RUNS if name != "float32"])
def test_a_narrow_run_is_near_the_one_in_float32(runs, name):
    """In every row of metrics, and not the same."""
    rows, wanted = (metrics_log.read(runs[one][0] / "metrics.jsonl") for one in (name, "float32"))
    losses = [[row.get("loss", row.get("nll_per_step")) for row in some] for some in (rows, wanted)]
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert rows != wanted


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_float32_and_evaluates_to_the_same(runs, name):
    path, _ = runs[name]
    state = restore_as_saved(path / "checkpoints", STEPS)
    floats = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {np.dtype("float32")}
    *_, metrics, _ = evaluate_checkpoint(RUNS[name], RunDirectory(path), "test")
    assert metrics == pytest.approx(RunDirectory(path).read_summary()["test"], rel=1e-5)


def test_the_environment_says_which_backend_ran(runs):
    for name, backend in {"float32": "fused", "bfloat16": "scan", "bfloat16, fused": "fused"}.items():
        path, printed = runs[name]
        assert json.loads((path / "environment.json").read_text())["backend"] == backend
        dtype = name.partition(",")[0]
        assert f"backend {backend}, for (T, B, I, H) = (6, 8, 5, 6) in {dtype}\n" in printed


def interrupted(path, monkeypatch, one):
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: signal.raise_signal(signal.SIGINT))
        outcome, printed = train(path, one)
    assert outcome.status == "interrupted"
    assert "not as at the start" not in printed


def test_a_resumed_run_says_that_auto_takes_another_backend(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch, RUNS["float32"])
    written = (tmp_path / "environment.json").read_bytes()
    monkeypatch.setattr("gru_jax.backend_for", lambda *_, **__: "scan")
    outcome, printed = train(tmp_path, RUNS["float32"])
    assert outcome.status == "complete"
    notes = [line for line in printed.splitlines() if line.startswith("note: ")]
    assert notes == ["note: not as at the start of the run: backend: fused -> scan"]
    assert (tmp_path / "environment.json").read_bytes() == written


def test_a_run_that_wrote_no_backend_down_goes_on_without_a_note(runs, tmp_path, monkeypatch):
    """And its config, which has neither key, is that of the run; it ends with the same bytes."""
    interrupted(tmp_path, monkeypatch, RUNS["float32"])
    environment = tmp_path / "environment.json"
    facts = json.loads(environment.read_text())
    del facts["backend"]
    environment.write_text(json.dumps(facts))
    assert not {"backend", "dtype"} & set((tmp_path / "config.yaml").read_text().replace(":", "").split())
    outcome, printed = train(tmp_path, config(backend="auto", dtype=None))
    assert outcome.status == "complete"
    assert "note: " not in printed
    assert (tmp_path / "metrics.jsonl").read_bytes() == (runs["float32"][0] / "metrics.jsonl").read_bytes()


def test_another_dtype_or_backend_goes_on_from_a_finished_run_and_says_so(runs, tmp_path):
    path, _ = runs["float32"]
    overrides = ["model.dtype=bfloat16", "model.backend=scan", f"training.steps={STEPS + 3}"]
    one, _ = continuation.load(None, overrides, path)
    outcome, printed = train(tmp_path, one)
    assert outcome.status == "complete"
    assert f'another from here on: model.backend: "auto" in {path}, "scan" now' in printed
    assert f'another from here on: model.dtype: "float32" in {path}, "bfloat16" now' in printed


def test_a_report_tells_them_apart(runs):
    found = [run_records.read(RunDirectory(path)) for path, _ in runs.values()]
    lines = report.markdown(found).splitlines()[2:6]
    for line, said in zip(
        sorted(lines),
        ["backend=auto, dtype=float16", "backend=auto, dtype=float32", "fused, dtype=bfloat16", "scan, dtype=bfloat16"],
        strict=True,
    ):
        assert said in line


def test_onnx_computes_in_float32_and_says_so(runs, capsys):
    path, _ = runs["bfloat16"]
    assert cli.main(["export", str(path), "--to", "onnx"]) == 0
    note = "note: computes in float32, where the run computed in bfloat16: outputs differ by rounding; --to stablehlo"
    assert note in capsys.readouterr().out
    trained = restore_trained(RUNS["bfloat16"], RunDirectory(path))
    (batch,) = trained.experiment.task.split_batches("test", 100)
    given = {"inputs": batch.inputs, "seq_lengths": np.full(len(batch.inputs), batch.inputs.shape[1], np.int32)}
    (outputs,) = onnxruntime.InferenceSession(str(path / "export" / "model.onnx")).run(None, given)
    wide = trained.experiment.model.clone(dtype=None)
    np.testing.assert_allclose(outputs, jax.jit(wide.apply)(trained.params, batch.inputs), rtol=0, atol=2e-6)
    assert cli.main(["export", str(runs["float32"][0]), "--to", "onnx"]) == 0
    assert "note: " not in capsys.readouterr().out


def test_stablehlo_computes_in_the_dtype_of_the_run(runs, capsys):
    path, _ = runs["bfloat16"]
    assert cli.main(["export", str(path), "--to", "stablehlo"]) == 0
    assert "note: " not in capsys.readouterr().out
    trained = restore_trained(RUNS["bfloat16"], RunDirectory(path))
    (batch,) = trained.experiment.task.split_batches("test", 100)
    lengths = np.full(len(batch.inputs), batch.inputs.shape[1], np.int32)
    exported = gru_jax.export.load_stablehlo(path / "export" / "model.stablehlo")
    assert "bf16" in exported.mlir_module()
    found = exported.call(inputs=batch.inputs, seq_lengths=lengths)["outputs"]
    expected = jax.jit(trained.experiment.model.apply)(trained.params, batch.inputs)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    step = gru_jax.export.load_stablehlo(path / "export" / "model_step.stablehlo")
    first = step.call(carry_0=np.zeros((len(lengths), 6), np.float32), inputs=batch.inputs[:, 0])
    np.testing.assert_allclose(first["outputs"], found[:, 0], rtol=0, atol=2e-3)
