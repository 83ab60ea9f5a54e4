"""How a command begins as a process of its own; importing this takes no time."""

import sys
from collections.abc import Callable


def start(main: Callable[[], int], command: str) -> None:
    """Run ``main``, which imports what it needs, and end the process with its exit code.

    If a package that every command needs is missing, a line that begins with ``command`` says so instead.
    """

    def run() -> int:
        from experiments.system.needed_packages import FOR_CONFIGS, need

        need(*FOR_CONFIGS, what=command)
        return main()

    try:
        from experiments.system import process
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    process.exit_with(run)
