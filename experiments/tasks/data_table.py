"""What `experiments data` shows: every data set, whether it is installed, and how to install it."""

from rich.table import Table

from experiments.tasks import packages
from experiments.tasks.registry import data_sets


def table() -> Table:
    """A row for each data set."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("data", "tasks", "licence", "installed", "size", "to install it"):
        shown.add_column(heading, justify="right" if heading == "size" else "left")
    for data, tasks in data_sets():
        size = packages.size(data)
        found = "no" if size is None else "yes"
        mebibytes = "-" if size is None else f"{size / 2**20:.1f} MiB"
        shown.add_row(data.name, ", ".join(tasks), data.licence, found, mebibytes, packages.install_line(data))
    return shown
