"""Training within a test: what it printed, and what happens in the middle of it."""

import io

from rich.console import Console

from experiments.runs.directory import RunDirectory
from experiments.training import train as training
from experiments.training.experiment import Experiment


def train(path, of):
    """Train a config in ``path``; the outcome, and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    outcome = training.train(of, "tiny", RunDirectory(path), "command", console)
    return outcome, console.file.getvalue()


def at_step(patch, step, action):
    """Call ``action`` when the batch of ``step`` is asked for, once."""
    original, done = Experiment.train_batch, []

    def train_batch(self, asked):
        if asked == step and not done:
            done.append(step)
            action()
        return original(self, asked)

    patch.setattr(Experiment, "train_batch", train_batch)
