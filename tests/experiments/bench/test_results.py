"""Tables, plots and bench.json, from a small bench that is written by hand."""

import json

import pytest
from rich.console import Console

from experiments.bench import plots, results, tables
from experiments.bench.results import Group, Measurement, Results
from experiments.system.errors import UserError

SMALL, LARGE = (10, 1, 2, 4), (100, 2, 2, 4)
MACHINE = {
    "cpu": "Testium 3000",
    "cores": 2,
    "device": "cpu",
    "platform": "Linux",
    "python": "3.11",
    "packages": {"jax": "0.10.2", "torch": None},
    "git": "abc",
    "environment": {"XLA_FLAGS": None},
    "load": 0.1,
}


def one(contender, *milliseconds, option="plain", computed=None, **values):
    rounds = [value / 1000 for value in milliseconds]
    values = {"flops": 1_000_000, "calls": 1, "compile_seconds": 0.5} | values
    return Measurement(contender, option, computed or option, rounds=rounds, **values)


@pytest.fixture
def bench():
    """Two shapes, one of them with masks, and growth with T; haiku was too slow, torch is missing."""
    slow = one("haiku", left_out="too slow: one call took 30 s", flops=None)
    small = [one("gru_jax", 2, 1, 3), one("linen", 4, 4, 4), one("keras", 3, 3, 3), slow]
    large = [one("gru_jax", 20, 20), one("linen", 10, 10), one("keras", 40, 40), slow]
    masked = [
        one("gru_jax", 2),
        one("keras", 3),
        one("gru_jax", 2.5, option="both"),
        one("keras", 1.5, option="both", computed="lengths", note="no resets"),
    ]
    return Results(
        config={"dtype": "float32"},
        command="python -m experiments bench x.yaml",
        machine=MACHINE,
        contenders=["gru_jax", "linen", "keras", "haiku", "torch"],
        baseline="gru_jax",
        missing={"torch": "torch is not installed"},
        matmul={"512": 1e9, "1024": 2e9},
        status="complete",
        groups=[
            Group("shapes", "training", SMALL, small),
            Group("shapes", "training", LARGE, large),
            Group("masked", "training", SMALL, masked),
            Group("growth", "training", SMALL, [one("gru_jax", 2)], axis="T"),
            Group("growth", "training", LARGE, [one("gru_jax", 9)], axis="T"),
        ],
    )


def test_times_best_and_ratios(bench):
    table = next(table for table in tables.tables(bench) if table.title == "training, ms")
    assert table.headings == ["(T, B, I, H)", "(10, 1, 2, 4)", "(100, 2, 2, 4)", "geometric mean"]
    assert table.rows == [
        ["gru_jax", "**2.00**", "20.0", ""],
        ["linen", "4.00", "**10.0**", ""],
        ["keras", "3.00", "40.0", ""],
        ["haiku", "-", "-", ""],
        ["best JAX peer / gru_jax", "1.50", "0.50", "0.87"],
    ]
    assert table.notes == [
        "where gru_jax is not faster: linen at (100, 2, 2, 4): 0.50",
        "haiku is left out at (10, 1, 2, 4); (100, 2, 2, 4): too slow: one call took 30 s",
    ]


def test_faster_everywhere_is_said_too(bench):
    del bench.groups[1]
    assert tables.tables(bench)[0].notes[0] == "gru_jax is faster than all of them everywhere"


def test_what_masks_cost(bench):
    table = next(table for table in tables.tables(bench) if "masks" in table.title)
    assert table.headings == ["", "plain", "both", "both / plain"]
    assert table.rows[0] == ["gru_jax", "**2.00**", "**2.50**", "1.25"]
    assert table.rows[2] == ["keras", "3.00", "1.50 (lengths only)", "0.50"]
    assert "keras, both: no resets" in table.notes


def test_growth(bench):
    table = tables.tables(bench)[-1]
    assert table.title == "growth with T, training, ms (B=1, I=2, H=4)"
    assert table.headings == ["T", "10", "100"]
    assert table.rows[0] == ["gru_jax", "**2.00**", "**9.00**"]


def test_markdown_names_machine_versions_command_and_what_is_missing(bench):
    text = tables.markdown(bench)
    for part in ("Testium 3000, 2 cores", "jax 0.10.2", "`python -m experiments bench x.yaml`", "512: 1, 1024: 2"):
        assert part in text
    assert "not measured: torch: torch is not installed" in text
    details = "| training (10, 1, 2, 4) | gru_jax | plain | 2.00 | 1.50 to 2.50 | 200 | 25.0 % | 0.500 | - | - |"
    assert details in text.splitlines()
    widths = {line.count("|") for line in text.split("## every measurement")[1].splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_terminal_shows_the_same_cells(bench):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tables.terminal(bench))
    shown = capture.get()
    assert "best JAX peer / gru_jax" in shown
    assert "**" not in shown


def test_json_and_back(bench, tmp_path):
    path = tmp_path / "bench.json"
    results.write(bench, path)
    assert results.read(path) == bench
    written = json.loads(path.read_text())
    assert written["matmul_rate"] == 2e9
    derived = written["groups"][0]["measurements"][0]["derived"]
    assert derived["median"] == 0.002
    assert derived["us_per_step"] == pytest.approx(200)
    assert derived["fraction_of_matmul_rate"] == pytest.approx(0.25)
    assert "derived" not in written["groups"][0]["measurements"][3]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": 1, "matmul_rate": 1, "groups": []}'])
def test_damaged_results_are_named(tmp_path, text):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bench\.json: damaged"):
        results.read(path)


def test_results_of_another_version_are_not_called_damaged(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text('{"version": 99}')
    with pytest.raises(UserError, match=r"bench\.json: of version 99, and this one reads 1; read it with") as caught:
        results.read(path)
    assert "delete" not in str(caught.value)


def test_plots_are_drawn_of_what_there_is(bench, tmp_path):
    drawn = plots.draw(bench, tmp_path / "plots")
    assert [path.name for path in drawn] == ["bench.png", "growth.png"]
    assert all(path.stat().st_size > 5000 for path in drawn)
    bench.groups = bench.groups[:1]
    assert [path.name for path in plots.draw(bench, tmp_path / "plots")] == ["bench.png"]
    bench.groups = []
    assert plots.draw(bench, tmp_path / "plots") == []
    assert "# Bench" in tables.markdown(bench)
