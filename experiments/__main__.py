"""``python -m experiments``: says which packages are missing, or hands over to `experiments/cli.py`."""

import sys


def _run() -> int:
    from experiments.system.needed_packages import FOR_CONFIGS, need

    need(*FOR_CONFIGS, what="python -m experiments")

    from experiments.cli import main

    return main()


if __name__ == "__main__":
    try:
        from experiments.system import process
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    process.exit_with(_run)
