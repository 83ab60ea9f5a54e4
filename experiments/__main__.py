"""``python -m experiments``: says which packages are missing, or hands over to `experiments/cli.py`."""

from experiments.system.entry import start


def _main() -> int:
    from experiments.cli import main

    return main()


if __name__ == "__main__":
    start(_main, "python -m experiments")
