"""What contenders compute: outputs, loss and gradients of each are held to the float64 reference.

Peers that are not installed are skipped.
"""

import dataclasses
import random

import jax
import numpy as np
import pytest

import gru_jax
from experiments.bench import contenders, group, registry
from experiments.bench.contenders.program import JaxProgram
from experiments.bench.measurement import calls_for, interleaved
from experiments.bench.problem import Problem, flops, join
from experiments.bench.reference import largest_difference, reference
from experiments.bench.results import Group, Measurement
from experiments.bench.schema import BenchConfig

NAMES = ["gru_jax:scan", "gru_jax:scan,vmap,remat=40", *registry.PEERS]
MISSING = registry.missing(NAMES)
every_contender = pytest.mark.parametrize(
    ("name", "option"),
    [
        pytest.param(name, option, marks=pytest.mark.skipif(name in MISSING, reason="not installed"))
        for name in NAMES
        for option in ("plain", "both")
        # Without masks, ours are measured below.
        if option == "both" or not registry.variant_of(name)
    ],
)
# Long enough for resets, which come once in 64 steps.
PROBLEM = Problem((70, 3, 4, 5))


def test_flops_by_hand():
    """T=2, B=3, I=4, H=5: at each of 6 steps 15 columns of 4 products and of 5, and as many additions."""
    problem = Problem((2, 3, 4, 5))
    assert flops(problem, "forward") == 6 * (2 * 15 * 4 + 2 * 15 * 5)
    assert flops(problem, "training") == 3 * flops(problem, "forward")


def test_flops_do_not_count_padding():
    ragged = PROBLEM.with_option("lengths")
    assert flops(ragged, "forward") == int(ragged.lengths.sum()) * 2 * 15 * 9 < flops(PROBLEM, "forward")
    assert ragged.outputs == int(ragged.lengths.sum()) * 5


def test_a_problem_is_a_function_of_its_fields():
    first, second = (Problem((64, 40, 2, 3), seed=5).with_option("both") for _ in range(2))
    for name in ("xs", "lengths", "resets"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.xs != dataclasses.replace(first, seed=6).xs).any()
    assert 32 <= first.lengths.min() < first.lengths.max() <= 64
    assert 0.5 / 64 < first.resets.mean() < 2 / 64
    np.testing.assert_array_equal(first.xs, first.with_option("plain").xs)


def test_gates_come_apart_and_together():
    weights = PROBLEM.weights
    for array, again in zip(weights, join(weights.gates()), strict=True):
        np.testing.assert_array_equal(array, again)


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_reference_is_the_gru_of_this_library(reset_after):
    problem = PROBLEM.with_option("both")
    expected = reference(problem, problem.weights, reset_after=reset_after)
    cell = gru_jax.gru(reset_after=reset_after)
    params = gru_jax.GRUParams(*map(jax.numpy.asarray, problem.weights))
    _, ys = gru_jax.scan(cell, params, problem.xs, seq_lengths=problem.lengths, resets=problem.resets)
    np.testing.assert_allclose(ys, expected, atol=2e-6)


def test_differences_are_found_and_padding_is_not_looked_at():
    problem = PROBLEM.with_option("lengths")
    expected = np.zeros((70, 3, 5))
    ys = np.where(problem.valid[:, :, None], 0.0, np.nan) + expected
    assert largest_difference(problem, ys, expected) == 0
    ys[0, 1, 2] = -0.5
    assert largest_difference(problem, ys, expected) == 0.5
    ys[0, 0, 0] = np.nan
    assert largest_difference(problem, ys, expected) == np.inf
    assert largest_difference(problem, ys[:, :2], expected) == np.inf


@every_contender
def test_a_contender_computes_what_it_should(name, option):
    """Outputs, loss, and the gradient of the inputs, which is the same whatever the layout of its parameters."""
    program = contenders.build(name, PROBLEM.with_option(option))
    expected = reference(program.problem, program.weights, reset_after=program.reset_after)
    assert largest_difference(program.problem, program.ys(program.compile("forward").run()), expected) < 2e-6
    assert program.problem.option == ("lengths" if (name, option) == ("keras", "both") else option)
    loss, gradients = program.compile("training").run()
    assert float(loss) == pytest.approx(np.square(expected).sum() / program.problem.outputs, rel=1e-5)
    gradient = np.asarray(gradients[-1], np.float64)
    gradient = gradient.swapaxes(0, 1) if name == "keras" else gradient
    direction = np.random.default_rng(0).normal(size=gradient.shape)
    assert (gradient * direction).sum() == pytest.approx(slope(program, direction), rel=1e-4)


def slope(program, direction, step=1e-5):
    """Of the loss as the inputs move in a direction, by central differences of the float64 reference."""
    losses = []
    for sign in (1, -1):
        moved = dataclasses.replace(program.problem)
        vars(moved)["xs"] = program.problem.xs + sign * step * direction
        ys = reference(moved, program.weights, reset_after=program.reset_after)
        losses.append(np.square(ys).sum() / program.problem.outputs)
    return (losses[0] - losses[1]) / (2 * step)


def measured(*names, mode="forward", option="plain", checks=None, **settings):
    """A group of one problem, measured."""
    values = {"contenders": list(names), "shapes": [[4, 2, 3, 5]], "rounds": 2, "seconds_per_measurement": 1e-5}
    config = BenchConfig.model_validate(values | settings)
    found = Group("shapes", mode, (4, 2, 3, 5), [Measurement(name, option) for name in names])
    group.measure(found, config, group.Guard(config.max_seconds), lambda: None, checks)
    return found.measurements


def test_what_forward_found_of_the_outputs_serves_training_and_its_loss_is_looked_at():
    checks = {}
    measured("gru_jax", checks=checks)
    ((key, check),) = checks.items()
    assert key == ("gru_jax", (4, 2, 3, 5), "plain")
    assert check.difference < 2e-6
    assert measured("gru_jax", mode="training", checks=checks)[0].left_out is None
    for wrong in (check._replace(difference=0.5), check._replace(loss=check.loss + 0.5)):
        (one,) = measured("gru_jax", mode="training", checks={key: wrong})
        assert one.difference == pytest.approx(0.5, rel=1e-5)
        assert "computes something else" in one.left_out


def test_a_measurement_says_all_there_is_to_say():
    ours, linen = measured("gru_jax:scan", "linen", mode="training")
    for one in (ours, linen):
        assert one.left_out is None
        assert len(one.rounds) == 2
        assert min(one.rounds) > 0
        assert one.compile_seconds > 0
        assert one.first_call_seconds > 0
        assert one.temporary_bytes > 0
        assert one.calls >= 1
        assert one.flops == 3 * 8 * 2 * 15 * 8
        assert 0 <= one.difference < 1e-5


def test_a_peer_that_computes_something_else_is_left_out_and_the_others_are_not(monkeypatch):
    build = contenders.build

    def bent(name, problem):
        program = build(name, problem)
        if name != "linen":
            return program
        return dataclasses.replace(program, params=program.params | {"hr": program.params["hz"]})

    monkeypatch.setattr(contenders, "build", bent)
    ours, linen = measured("gru_jax", "linen")
    assert not ours.left_out
    assert "computes something else: its results differ from the reference by" in linen.left_out
    assert linen.rounds == []


def test_a_loss_that_is_not_the_mean_of_squares_is_found(monkeypatch):
    monkeypatch.setattr(JaxProgram, "_loss", lambda self, params, xs, lengths, resets: xs.sum())
    (ours,) = measured("gru_jax", mode="training")
    assert "computes something else" in ours.left_out


def test_whatever_a_library_raises_is_told_with_its_name(monkeypatch):
    def build(name, problem):
        raise RuntimeError("no such device\nand a long tale")

    monkeypatch.setattr(contenders, "build", build)
    (one,) = measured("linen")
    assert one.left_out == "RuntimeError: no such device"


def test_a_contender_without_the_masks_asked_for_is_left_out(monkeypatch):
    build = contenders.build
    monkeypatch.setattr(
        contenders, "build", lambda name, problem: dataclasses.replace(build(name, PROBLEM), note="no resets")
    )
    (one,) = measured("linen", option="resets")
    assert one.left_out == "no resets"


def test_slow_calls_and_large_programs_are_not_repeated():
    (one,) = measured("gru_jax", max_seconds=1e-9)
    assert one.left_out.startswith("too slow: one call took")
    assert one.rounds == []
    (one,) = measured("gru_jax", max_gigabytes=1e-9)
    assert "GiB of temporary memory, more than max_gigabytes=1e-09" in one.left_out


def test_the_guard_lets_smaller_problems_pass():
    guard, one, other = group.Guard(2.0), Measurement("torch", "plain"), Measurement("linen", "plain")
    assert guard.refuses_to_repeat(one, 100, (1, 2, 3, 4), 1.9) is None
    assert guard.refuses_to_repeat(one, 100, (1, 2, 3, 4), 2.5) == (
        "too slow: one call took 2.5 s at [1, 2, 3, 4], more than max_seconds=2"
    )
    assert guard.refuses(one, 99) is None
    assert guard.refuses(other, 1000) is None
    assert "took 2.5 s at [1, 2, 3, 4]" in guard.refuses(one, 1000)


def test_rounds_are_interleaved_and_shuffled():
    log = []
    runs = [lambda name=name: log.append(name) for name in "abcd"]
    times = interleaved(runs, [1] * 4, rounds=6, seed=0, between=lambda: None)
    assert [len(of) for of in times] == [6] * 4
    rounds = [log[start : start + 4] for start in range(0, 24, 4)]
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    again, log[:] = log[:], []
    interleaved(runs, [1] * 4, rounds=6, seed=0, between=lambda: None)
    assert log == again


def test_short_measurements_are_many_calls_and_one_that_does_not_count():
    log = []
    interleaved([lambda: log.append("x")], [3], rounds=2, seed=0, between=lambda: log.append("between"))
    assert log == ["between", "x", "x", "x", "x"] * 2


@pytest.mark.parametrize(("seconds", "one_call", "calls"), [(0.05, 0.01, 5), (0.05, 0.3, 1), (0.05, 0.0, 100_000)])
def test_calls_fill_the_time(seconds, one_call, calls):
    assert calls_for(seconds, one_call) == calls


def test_a_row_is_cut_at_its_resets():
    pieces = pytest.importorskip("experiments.bench.contenders.torch_gru", exc_type=ImportError).pieces
    problem = Problem((300, 4, 2, 3), seed=random.Random(0).randrange(100)).with_option("both")
    found = pieces(problem)
    assert sum(stop - start for _, start, stop in found) == problem.lengths.sum()
    assert all(stop > start for _, start, stop in found)
    starts = {(start, row) for row, start, _ in found if start}
    inside = problem.resets & problem.valid
    assert starts == {(int(t), int(row)) for t, row in zip(*np.nonzero(inside), strict=True) if t}
