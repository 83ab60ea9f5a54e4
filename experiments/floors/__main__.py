"""``python -m experiments.floors``."""

from experiments.system.entry import start


def _main() -> int:
    from experiments.floors.cli import main

    return main()


if __name__ == "__main__":
    start(_main, "python -m experiments.floors")
