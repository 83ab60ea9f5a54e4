"""Run directories written by hand, for what only reads them."""

import json

from experiments.config import configs
from experiments.runs.config import Config
from experiments.runs.directory import RunDirectory


def write_run(
    path,
    *,
    task="{name: copy}",
    settings=(),
    name="copying",
    seed=0,
    test=None,
    validation=(0.5, 0.75),
    seconds=2.0,
    **summary,
):
    """A run of the task that trained 20 steps, complete if ``test`` (its accuracy) is given."""
    directory = RunDirectory(path)
    path.mkdir(parents=True)
    source = path / "source.yaml"
    source.write_text(f"task: {task}\ntraining: {{steps: 20}}\n")
    directory.begin(configs.load(Config, source, [*settings, f"seed={seed}"]), "command")
    source.unlink()
    rows = []
    for number, accuracy in enumerate(validation, start=1):
        step = 10 * number
        rows.append({"step": step, "split": "train", "loss": 2 / step, "grad_norm": 1.0, "learning_rate": 0.1})
        rows.append({"step": step, "split": "validation", "accuracy": accuracy, "nll_per_step": 1 - accuracy})
    directory.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if test is not None:
        values = {
            "status": "complete",
            "config": name,
            "seed": seed,
            "steps": 20,
            "seconds": {"compile": 1.0, "run": seconds},
            "parameters": 1234,
            "test": {"accuracy": test},
            "floor": {"accuracy": 0.125},
            "floor_note": "chance",
        }
        directory.summary.write_text(json.dumps(values | summary))
    return directory
