"""What ``python -m experiments data`` prints: every data set, whether it is installed, and how to install it."""

from rich.table import Table

from experiments.tasks import packages


def table() -> Table:
    """A row for each."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("data", "tasks", "licence", "installed", "size", "to install it"):
        found.add_column(heading, justify="right" if heading == "size" else "left")
    for data in packages.DATA_SETS:
        size = packages.size(data)
        installed = "no" if size is None else "yes"
        shown = "-" if size is None else f"{size / 2**20:.1f} MiB"
        found.add_row(data.name, ", ".join(data.tasks), data.licence, installed, shown, packages.install_line(data))
    return found
