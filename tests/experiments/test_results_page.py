"""The page of results, from runs written by hand."""

import statistics

from experiments import cli
from tests.experiments.runs import write_run


def test_a_row_for_each_config_with_its_seeds_floor_and_command(tmp_path, capsys):
    for seed, accuracy in ((0, 0.5), (1, 0.75)):
        run = write_run(tmp_path / "runs" / str(seed), seed=seed, test=accuracy, seconds=59.0)
        run.command.write_text(
            f"python -m experiments train configs/copying.yaml task.delay=9 seed={seed} --run-dir runs/{seed}\n"
        )
    other = write_run(tmp_path / "runs" / "wide", settings=["model.features=64"], name="a|b", test=0.25)
    other.command.unlink()
    write_run(tmp_path / "runs" / "unfinished")
    page = tmp_path / "page.md"
    assert cli.main(["report", str(tmp_path / "runs"), "--page", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    spread = statistics.stdev([0.5, 0.75])
    assert rows[1:] == [
        rows[1],
        f"| copying | accuracy | 0.125 | 0.625 ± {spread:.2g} | 2 | 1,234 | 1.0 "
        "| `python -m experiments train configs/copying.yaml task.delay=9` |",
    ]
    assert rows[1].startswith("| a\\|b | accuracy | 0.125 | 0.25 | 1 | 1,234 | 0.1 | `(config ")
    assert "- copying: chance" in page.read_text()
