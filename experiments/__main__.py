"""``python -m experiments``."""

from experiments import process
from experiments.needed_packages import FOR_CONFIGS, need


def _run() -> int:
    need(*FOR_CONFIGS, what="python -m experiments")

    from experiments.cli import main

    return main()


if __name__ == "__main__":
    process.exit_with(_run)
