import numpy as np
import pytest
from matplotlib.image import imread

from experiments.results import plots
from experiments.system.errors import UserError
from tests.experiments.results.written_runs import write_run


def count(path, colour):
    """The number of pixels of a PNG file in which a primary colour clearly leads."""
    pixels = imread(path)[..., :3]
    channel = ("red", "green", "blue").index(colour)
    others = np.delete(pixels, channel, axis=-1).max(axis=-1)
    return int((pixels[..., channel] - others > 0.15).sum())


def test_a_complete_run_shows_training_validation_test_and_floor(tmp_path):
    paths = plots.draw(write_run(tmp_path / "run", test=0.7))
    assert [path.name for path in paths] == ["learning_curve.png", "optimisation.png"]
    assert sorted(path.name for path in (tmp_path / "run" / "plots").iterdir()) == [path.name for path in paths]
    # Validation is blue, the test split red, the floor green.
    assert min(count(paths[0], colour) for colour in ("red", "green", "blue")) > 50


def test_a_running_run_shows_what_there_is(tmp_path):
    (curve, _) = plots.draw(write_run(tmp_path / "run"))
    assert count(curve, "blue") > 50
    assert count(curve, "red") == count(curve, "green") == 0


def test_a_run_of_one_row_shows_its_points(tmp_path):
    run = write_run(tmp_path / "run", validation=(0.5,))
    (_, optimisation) = plots.draw(run)
    assert count(optimisation, "blue") > 20


def test_a_training_curve_of_one_point_has_a_mark():
    rows = [{"step": 10, "split": "train", "loss": 1.0}, {"step": 10, "split": "validation", "nll": 0.8}]
    figure = plots._learning_curve(rows, {}, "title")
    training, _ = figure.axes[0].lines
    assert (training.get_label(), training.get_marker()) == ("training", ".")
    long = [{"step": step, "split": "train", "loss": 1.0} for step in range(100)]
    assert plots._learning_curve(long, {}, "title").axes[0].lines[0].get_marker() == "None"


def test_a_confusion_matrix_is_drawn_where_there_are_classes(tmp_path):
    run = write_run(tmp_path / "run", test=0.7, confusion=[[3, 1], [0, 4]], class_names=["no", "yes"])
    assert [path.name for path in plots.draw(run)][-1] == "confusion.png"


def test_plots_can_be_drawn_again(tmp_path):
    run = write_run(tmp_path / "run", test=0.7)
    first = [path.read_bytes() for path in plots.draw(run)]
    assert [path.read_bytes() for path in plots.draw(run)] == first


def test_no_rows_nothing_to_draw(tmp_path):
    run = write_run(tmp_path / "run", validation=())
    with pytest.raises(UserError, match="nothing to draw"):
        plots.draw(run)
    assert not run.plots.exists()


@pytest.mark.parametrize(("values", "logarithmic"), [([1, 31], True), ([1, 29], False), ([0, 100], False), ([], False)])
def test_the_axis_is_logarithmic_where_values_span_much(values, logarithmic):
    assert plots.wants_log_scale(values) is logarithmic
