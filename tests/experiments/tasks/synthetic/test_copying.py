import math

import numpy as np

from experiments.tasks.synthetic.copying import CopyConfig, build


def test_each_row_asks_for_its_first_symbols_at_its_end():
    task = build(CopyConfig(name="copy", length=3, symbols=4, delay=5))
    batch = task.train_batch(0, 0, 20)
    assert batch.inputs.shape == (20, 12)
    for inputs, targets, weights in zip(batch.inputs, batch.targets, batch.weights, strict=True):
        assert all(token < 4 for token in inputs[:3])
        assert inputs[3:].tolist() == [4] * 5 + [5] + [4] * 3
        assert targets[-3:].tolist() == inputs[:3].tolist()
        assert weights.tolist() == [0] * 9 + [1] * 3


def test_without_a_delay_the_go_marker_follows_at_once():
    batch = build(CopyConfig(name="copy", length=2, symbols=2, delay=0)).train_batch(0, 0, 1)
    assert batch.inputs[0, 2:].tolist() == [3, 2, 2]


def test_symbols_are_uniform():
    batch = build(CopyConfig(name="copy", length=10, symbols=8)).train_batch(0, 0, 1000)
    shares = np.bincount(batch.inputs[:, :10].ravel(), minlength=8) / 10_000
    # Each share has standard deviation sqrt(1/8 * 7/8 / 10000) = 0.0033.
    np.testing.assert_allclose(shares, 1 / 8, atol=0.015)


def test_the_floor_is_what_a_constant_answer_reaches():
    task = build(CopyConfig(name="copy", length=10, symbols=8))
    (batch,) = task.split_batches("test", 10_000)
    right = batch.weights * (batch.targets == 0)
    assert abs(right.sum() / batch.weights.sum() - task.floor["accuracy"]) < 0.01
    assert math.isclose(task.floor["nll_per_step"], -math.log(1 / 8))
