import numpy as np
import pytest

from experiments.tasks.synthetic.adding import AddingConfig, build


@pytest.mark.parametrize("length", [2, 7, 50])
def test_the_target_is_the_sum_of_two_marked_numbers_one_in_each_half(length):
    batch = build(AddingConfig(name="adding", length=length)).train_batch(0, 3, 40)
    assert batch.inputs.shape == (40, length, 2)
    for row, target in zip(batch.inputs, batch.targets, strict=True):
        first, second = (step for step in range(length) if row[step, 1] == 1)
        assert set(row[:, 1]) <= {0, 1}
        assert first < length // 2 <= second
        assert target == pytest.approx([float(row[first, 0]) + float(row[second, 0])], rel=1e-6)


def test_every_step_of_a_half_can_be_marked():
    batch = build(AddingConfig(name="adding", length=6)).train_batch(0, 0, 500)
    assert (batch.inputs[:, :, 1].sum(axis=0) > 100).all()


def test_the_floor_is_what_always_answering_one_reaches():
    task = build(AddingConfig(name="adding"))
    (batch,) = task.split_batches("test", 2000)
    error = batch.targets - 1
    # mse: sd of (u + v - 1)^2 over 2000 rows is 0.0044; mae: sd 0.0053.
    assert np.mean(error**2) == pytest.approx(task.floor["mse"], abs=0.015)
    assert np.mean(np.abs(error)) == pytest.approx(task.floor["mae"], abs=0.02)
