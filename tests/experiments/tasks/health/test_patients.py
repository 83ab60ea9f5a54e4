"""The patients as a task: what is asked of whom, that nothing later is told, what models get, and scores by hand."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gru_jax
from experiments.config.configs import check
from experiments.config.schema import ModelConfig
from experiments.models.build import build_model
from experiments.results import pictures
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks.health import pbc
from experiments.tasks.health.patients import (
    HORIZON,
    LANDMARK,
    PatientsConfig,
    build,
    fold_of,
    last_values,
    outcome,
    until,
)
from experiments.tasks.health.pbc import FEATURES, MEASURED, Patient
from experiments.tasks.health.time_gaps import gaps
from experiments.tasks.inputs import MeasuredFeatures, Vectors


def patient(followed, event, times=(0.0,)):
    return Patient(np.array(times), np.zeros((len(times), len(FEATURES))), followed, event)


@pytest.mark.parametrize(
    ("followed", "event", "answer"),
    [
        (1.0, True, np.nan),  # gone before the question
        (2.0, False, np.nan),  # no longer seen when it is asked
        (2.1, True, 1.0),
        (5.0, True, 1.0),  # at the very end of the horizon
        (5.1, True, 0.0),  # later
        (4.9, False, np.nan),  # lost from sight too early to know
        (5.0, False, 0.0),
    ],
)
def test_the_answer(followed, event, answer):
    assert HORIZON == 3
    np.testing.assert_equal(outcome(patient(followed, event), 2.0), answer)


def test_folds_hold_equal_shares_of_events():
    outcomes = np.array([1.0] * 13 + [0.0] * 41 + [np.nan] * 9)
    folds = fold_of(outcomes)
    assert (folds[np.isnan(outcomes)] == 0).all()
    for value, count in ((1, 13), (0, 41)):
        sizes = np.bincount(folds[outcomes == value], minlength=6)[1:]
        assert sizes.sum() == count
        assert sizes.max() - sizes.min() == 1


def test_gaps_are_those_of_the_library():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.random((4, 9)), axis=1).astype(np.float32)
    observed = rng.random((4, 9, 5)) < 0.4
    expected = gru_jax.time_gaps(jnp.asarray(times.T), jnp.asarray(np.moveaxis(observed, 1, 0)))
    np.testing.assert_allclose(np.moveaxis(gaps(times, observed), 1, 0), expected, atol=1e-5)


def test_last_values_look_back_no_further_than_needed():
    values = np.full((3, len(FEATURES)), np.nan)
    values[0, 0], values[1, 0], values[2, 0], values[0, 1], values[2, 2] = 1, 2, 3, 4, 5
    row = Patient(np.array([0.0, 1.0, 2.0]), values, 9, False)
    np.testing.assert_equal(last_values(row, 1.5)[:3], [2, 4, np.nan])
    np.testing.assert_equal(last_values(row, 2.0)[:3], [3, 4, 5])


@pytest.fixture(scope="module")
def people():
    return pbc.read()


@pytest.fixture(scope="module")
def tasks():
    return [build(PatientsConfig(name="patients", fold=fold)) for fold in range(1, 6)]


def test_the_table_is_that_of_the_study(people):
    """Figures of survival's help page and of DATASETS: 312 patients, 1945 visits, 140 died, 29 had a transplant."""
    assert len(people) == 312
    assert sum(len(person.times) for person in people) == 1945
    assert sum(person.event for person in people) == 140 + 29
    assert all(person.times[0] == 0 and (np.diff(person.times) > 0).all() for person in people)
    assert all(person.times[-1] <= person.followed for person in people)
    values = np.concatenate([person.values for person in people])
    assert np.isnan(values[:, FEATURES.index("chol")]).mean() == pytest.approx(0.422, abs=1e-3)
    assert not np.isnan(values[:, MEASURED:]).any()
    # The first patient: bilirubin 14.5, albumin 2.6, 58.77 years, followed for 400 days.
    first = dict(zip(FEATURES, people[0].values[0], strict=True))
    assert np.exp(first["bili"]) == pytest.approx(14.5)
    assert first["albumin"] == 2.6
    assert first["age"] == pytest.approx(58.765, abs=1e-3)
    assert people[0].followed == pytest.approx(400 / 365.25)


def test_every_patient_is_tested_once(people, tasks):
    asked = [n for n, person in enumerate(people) if not np.isnan(outcome(person, LANDMARK))]
    events = rows = 0
    for task in tasks:
        (batch,) = task.split_batches("test", 1000)
        assert batch.weights.sum(axis=1).tolist() == [1] * len(batch.targets)
        rows, events = rows + len(batch.targets), events + batch.targets[batch.weights > 0].sum()
        assert task.facts["train_patients"] + task.facts["validation_patients"] + len(batch.targets) == 312
    assert rows == len(asked) == 259
    assert events == sum(outcome(people[n], LANDMARK) for n in asked) == 65
    assert tasks[0].facts["gone_before_the_landmark"] + tasks[0].facts["censored_before_the_horizon"] == 312 - 259


def test_the_next_fold_validates(tasks):
    (validation,), (test,) = tasks[0].split_batches("validation", 99), tasks[1].split_batches("test", 99)
    np.testing.assert_array_equal(validation.targets[validation.weights > 0], test.targets[test.weights > 0])


def test_nothing_after_the_landmark_is_told(people, tasks, monkeypatch):
    """The same test inputs where all that followed was otherwise: no visits, another end, other values."""
    folds = fold_of(np.array([outcome(person, LANDMARK) for person in people]))
    (batch,) = tasks[0].split_batches("test", 1000)

    def changed(person):
        kept = until(person, LANDMARK)
        visit = Patient(np.array([LANDMARK + 0.1]), np.full((1, len(FEATURES)), 9.0), 0, False)
        times, values = np.append(kept.times, visit.times), np.concatenate([kept.values, visit.values])
        # The same answer, for another reason, so that the folds stay.
        return Patient(times, values, LANDMARK + 1 if outcome(person, LANDMARK) else 30.0, True)

    other = [changed(person) if fold == 1 else person for person, fold in zip(people, folds, strict=True)]
    monkeypatch.setattr(pbc, "read", lambda: other)
    (there,) = build(PatientsConfig(name="patients", fold=1)).split_batches("test", 1000)
    for here, now in zip((*batch.inputs, batch.seq_lengths), (*there.inputs, there.seq_lengths), strict=True):
        np.testing.assert_array_equal(here, now)
    steps = np.arange(batch.weights.shape[1])
    assert (batch.weights == (steps == batch.seq_lengths[:, None] - 1)).all()


def _trains(people):
    folds = fold_of(np.array([outcome(person, LANDMARK) for person in people]))
    return np.flatnonzero(~np.isin(folds, [1, 2]))


def test_training_rows_ask_at_every_visit(people, tasks):
    task = tasks[0]
    batch = task.train_batch(0, 1, len(_trains(people)))
    questions = [outcome(people[n], time) for n in _trains(people) for time in people[n].times]
    assert batch.weights.sum() == np.isfinite(questions).sum()
    assert batch.targets[batch.weights > 0].sum() == np.nansum(questions)
    assert batch.seq_lengths.sum() == len(questions)
    x = batch.inputs.x[np.arange(batch.inputs.x.shape[1]) < batch.seq_lengths[:, None]]
    seen = batch.inputs.observed[np.arange(batch.inputs.x.shape[1]) < batch.seq_lengths[:, None]] == 1
    np.testing.assert_allclose([x[s, i].mean() for i, s in enumerate(seen.T)], 0, atol=1e-5)
    np.testing.assert_allclose([x[s, i].std() for i, s in enumerate(seen.T)], 1, atol=1e-4)
    assert (x[~seen] == 0).all()


def test_a_training_batch_is_a_function_of_seed_and_step():
    task = build(PatientsConfig(name="patients", hide=0.3, missing="mean"))
    first = task.train_batch(3, 7, 16)
    task.train_batch(4, 8, 16)
    np.testing.assert_array_equal(first.inputs, task.train_batch(3, 7, 16).inputs)
    assert (first.inputs != task.train_batch(3, 8, 16).inputs).any()
    assert (first.inputs != task.train_batch(4, 7, 16).inputs).any()


def test_what_models_get():
    made = {m: build(PatientsConfig(name="patients", missing=m)) for m in ("decay", "mean", "mean_and_mask")}
    width = len(FEATURES)
    assert [task.inputs for task in made.values()] == [MeasuredFeatures(width), Vectors(width), Vectors(3 * width)]
    decay, mean, both = (next(task.split_batches("validation", 99)).inputs for task in made.values())
    np.testing.assert_array_equal(mean, decay.x)
    np.testing.assert_array_equal(both, np.concatenate(decay, axis=-1))
    assert set(np.unique(decay.observed)) == {0, 1}


def test_hidden_values_are_as_if_never_measured(people):
    task, plain = (build(PatientsConfig(name="patients", hide=hide)) for hide in (0.5, 0.0))
    batch, whole = task.train_batch(0, 3, 64), plain.train_batch(0, 3, 64)
    lost = (whole.inputs.observed == 1) & (batch.inputs.observed == 0)
    share = lost[..., :MEASURED].sum() / (whole.inputs.observed[..., :MEASURED] == 1).sum()
    assert share == pytest.approx(0.5, abs=0.03)
    assert not lost[..., MEASURED:].any()
    assert (batch.inputs.x[lost] == 0).all()
    assert (batch.inputs.gap >= whole.inputs.gap).all()
    assert (batch.inputs.gap > whole.inputs.gap).any()


def test_the_fold_is_scored_without_filling_and_keeps_its_cases(tasks):
    task = tasks[2]
    batches = list(task.split_batches("test", 20))
    rng = np.random.default_rng(0)
    pairs = [(batch, rng.normal(size=(*batch.weights.shape, 1)).astype(np.float32)) for batch in batches]
    found = task.assess(pairs)
    logits = np.concatenate([outputs[..., 0][batch.weights > 0] for batch, outputs in pairs])
    events = np.concatenate([batch.targets[..., 0][batch.weights > 0] for batch in batches])
    assert len(events) == 52
    wins = [np.sign(a - b) for a in logits[events == 1] for b in logits[events == 0]]
    assert found.metrics["auroc"] == pytest.approx((np.mean(wins) + 1) / 2, abs=1e-4)
    risks = 1 / (1 + np.exp(-np.float64(logits)))
    assert found.metrics["brier"] == pytest.approx(np.mean((risks - events) ** 2), abs=1e-4)
    cases = found.pictures["reliability"]["cases"]
    np.testing.assert_allclose(cases["risk"], risks, atol=1e-6)
    assert cases["event"] == events.tolist()
    assert len(set(cases["number"])) == 52
    assert sum(found.pictures["reliability"]["count"]) == 52
    panels = found.pictures["courses"]["panels"]
    ends = [panel["title"].partition(": ")[2].removesuffix(" within 3 years of the landmark") for panel in panels]
    assert ends == ["event"] * 2 + ["no event"] * 2
    number = int(re.search(r"\d+", panels[0]["title"])[0])
    assert panels[0]["lines"]["risk told at the visit"][-1] == pytest.approx(
        cases["risk"][cases["number"].index(number)], abs=1e-4
    )
    # The floor is that of the risks that lie beside.
    assert np.mean((np.array(cases["logistic_visits"]) - events) ** 2) == pytest.approx(task.floor["brier"], abs=1e-4)


def test_courses_show_the_answer_at_each_visit(people, tasks):
    """A patient with the event soon after the landmark, but more than 3 years after the first visit."""
    (batch,) = tasks[2].split_batches("test", 1000)
    outputs = np.zeros((*batch.weights.shape, 1), np.float32)
    numbers = tasks[2].assess([(batch, outputs)]).pictures["reliability"]["cases"]["number"]
    late = [row for row, n in enumerate(numbers) if people[n - 1].event and 3.1 < people[n - 1].followed < 5]
    person = people[numbers[late[0]] - 1]
    outputs[late[0], 0] = 4
    picture = tasks[2].assess([(batch, outputs)]).pictures["courses"]
    panel = picture["panels"][0]
    assert panel["title"] == f"patient {numbers[late[0]]}: event within 3 years of the landmark"
    times = person.times[person.times <= 2.25]
    np.testing.assert_allclose(panel["at"], times, atol=1e-4)
    assert panel["lines"]["what came"] == [float(person.followed <= time + 3) for time in times]
    assert panel["lines"]["what came"][0] == 0
    json.dumps(picture, allow_nan=False)
    axes = pictures.draw(picture, "x").axes
    assert len({axis.get_ylim() for axis in axes}) == 1
    assert axes[0].get_ylim() == pytest.approx((0, 1), abs=0.05)
    assert {axis.get_xlabel() for axis in axes} == {"years since the first visit"}
    np.testing.assert_allclose(np.asarray(axes[0].lines[0].get_xdata()), times, atol=1e-4)


def test_a_gru_d_reads_them_in_the_model(tasks):
    """The model's outputs are those of gru_jax's own scan on the same parameters, whatever lies in the padding."""
    model = build_model(ModelConfig.model_validate({"cell": "gru_d", "features": 4}), tasks[0])
    (batch,) = tasks[0].split_batches("test", 1000)
    variables = jax.jit(model.init)(jax.random.key(0), batch.inputs)
    outputs = jax.jit(model.apply)(variables, batch.inputs, batch.seq_lengths)
    params = variables["params"]
    cell_params = gru_jax.GRUDParams(**params["recurrent"]["layer_0"]["forward"])
    row = int(np.argmin(batch.seq_lengths))
    length = int(batch.seq_lengths[row])
    alone = gru_jax.GRUDInputs(*(jnp.asarray(leaf[row, :length]) for leaf in batch.inputs))
    _, ys = gru_jax.scan(gru_jax.gru_d(), cell_params, alone)
    expected = ys @ params["output_layer"]["kernel"] + params["output_layer"]["bias"][None]
    np.testing.assert_allclose(outputs[row, :length], expected, atol=1e-6)
    padded = np.arange(batch.weights.shape[1])[None, :, None] >= batch.seq_lengths[:, None, None]
    spoilt = type(batch.inputs)(*(np.where(padded, np.float32(np.nan), leaf) for leaf in batch.inputs))
    again = jax.jit(model.apply)(variables, spoilt, batch.seq_lengths)
    np.testing.assert_array_equal(again[batch.weights > 0], outputs[batch.weights > 0])


@pytest.mark.parametrize(
    ("task", "model", "line"),
    [
        ({}, {"cell": "gru"}, r"model\.cell: .*gru_d.*task\.missing.*got gru"),
        ({"missing": "mean"}, {"cell": "gru_d"}, r"model\.cell: gru_d reads values with masks and gaps.*missing=decay"),
        ({"name": "copy"}, {"cell": "gru_d"}, r"model\.cell: gru_d reads .* task copy lacks"),
        ({}, {"cell": "gru_d", "num_layers": 2}, r"model\.num_layers: expected one layer, since a gru_d reads"),
        ({}, {"cell": "gru_d", "features": [8, 8]}, r"model\.features: expected one layer, since a gru_d reads"),
        ({}, {"cell": "gru_d", "input_features": 8}, r"model\.input_features: expected null, since a gru_d reads"),
        ({}, {"cell": "gru_d", "bidirectional": True}, r"model\.bidirectional"),
    ],
)
def test_what_does_not_suit_is_refused(task, model, line):
    with pytest.raises(UserError, match=line):
        check(Config, {"task": {"name": "patients"} | task, "model": model})
    check(Config, {"task": {"name": "patients"}, "model": {"cell": "gru_d"}})
