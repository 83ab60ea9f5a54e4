"""Tries packages of our extras before the work: one line names a package that is missing or broken."""

import importlib
import importlib.util

from experiments.system.errors import UserError

# The name of a module -> what pip calls it, and the extra that brings it.
_EXTRAS = {
    "flatbuffers": ("flatbuffers", "interop"),
    "flax": ("flax", "experiments"),
    "jax": ("jax", "experiments"),
    "matplotlib": ("matplotlib", "experiments"),
    "numpy": ("numpy", "experiments"),
    "omegaconf": ("omegaconf", "experiments"),
    "onnx": ("onnx", "interop"),
    "optax": ("optax", "experiments"),
    "orbax": ("orbax-checkpoint", "experiments"),
    "pydantic": ("pydantic", "experiments"),
    "rich": ("rich", "experiments"),
    "safetensors": ("safetensors", "interop"),
    "sklearn": ("scikit-learn", "experiments"),
    "tensorboardX": ("tensorboardX", "experiments"),
    "yaml": ("pyyaml", "experiments"),
}

FOR_CONFIGS = ("yaml", "omegaconf", "pydantic", "rich.console")
"""What every command imports at its start."""
FOR_PLOTS = ("matplotlib.figure", "matplotlib.backends.backend_agg")
FOR_TENSORBOARD = ("tensorboardX.event_file_writer",)


def need(*modules: str, what: str) -> None:
    """Import ``modules``, which ``what`` needs; UserError, with the line that installs it, for one that fails.

    An import, unlike a search, also finds a broken installation.
    """
    for module in modules:
        root = module.partition(".")[0]
        package, extra = _EXTRAS[root]
        try:
            if importlib.util.find_spec(root) is None:
                raise ModuleNotFoundError(f"No module named {root!r}", name=root)
            importlib.import_module(module)
        except Exception as error:
            raise UserError(
                f"{what}: needs the package {package}, which {_problem(root, error)}: {_install(extra)}"
            ) from None


def need_for_runs(*, plots: bool, tensorboard: bool) -> None:
    """Try what a run with these settings in ``logging`` imports only after it has trained; UserError as of `need`."""
    if plots:
        need(*FOR_PLOTS, what="logging.plots")
    if tensorboard:
        need(*FOR_TENSORBOARD, what="logging.tensorboard")


def explanation(error: ImportError) -> str | None:
    """The line for an import that failed on the way, or None if it is a mistake in this repository.

    A package that is not in the table is taken for one that the extra "experiments" brings along.
    """
    root = (error.name or _raised_by(error)).partition(".")[0]
    if root in ("", "experiments", "gru_jax"):
        return None
    package, extra = _EXTRAS.get(root, (root, "experiments"))
    return f"this command needs the package {package}, which {_problem(root, error)}: {_install(extra)}"


def _raised_by(error: ImportError) -> str:
    """The module that raised ``error``, or ""; where jaxlib is missing, JAX's error names no module."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return str(place.tb_frame.f_globals.get("__name__", "")) if place else ""


def _problem(root: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == root:
        return "is not installed"
    first = str(error).strip().partition("\n")[0]
    return f"cannot be imported ({first or type(error).__name__})"


def _install(extra: str) -> str:
    return f'pip install "gru_jax[{extra}]"'
