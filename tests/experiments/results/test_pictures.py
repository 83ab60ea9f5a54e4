"""The pictures of a test split: what is written where, and that long ones stay readable."""

import itertools

import numpy as np
import pytest

from experiments.results import pictures


def attention(rows, columns):
    weights = np.random.default_rng(0).random((rows, columns))
    names = [f"in{column}" for column in range(columns)]
    return {"rows": [f"out{row}" for row in range(rows)], "columns": names, "weights": weights.tolist()}


def maps(figure):
    """The panels of a figure, without its colour bar."""
    return [axis for axis in figure.axes if axis.images]


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def test_attention_maps_share_one_scale():
    panels = [attention(3, 5), attention(4, 2)]
    panels[1]["weights"][2][1] = 1.5
    figure = pictures.draw({"kind": "attention", "panels": panels}, "run")
    for panel, axis in zip(panels, maps(figure), strict=True):
        assert labels(axis.get_xticklabels()) == panel["columns"]
        assert labels(axis.get_yticklabels()) == panel["rows"]
        assert not axis.get_title()
        np.testing.assert_array_equal(axis.images[0].get_array(), panel["weights"])
        assert axis.images[0].get_clim() == (0, 1.5)


def test_of_a_long_text_the_beginning_is_drawn_and_said_to_be_so():
    panel = attention(50, 70)
    (axis,) = maps(pictures.draw({"kind": "attention", "panels": [panel]}, "run"))
    assert labels(axis.get_xticklabels()) == panel["columns"][:40]
    assert labels(axis.get_yticklabels()) == panel["rows"][:40]
    np.testing.assert_array_equal(axis.images[0].get_array(), np.array(panel["weights"])[:40, :40])
    assert axis.get_title() == "the first 40 of 70 inputs, 40 of 50 outputs"


def test_wide_maps_stand_below_one_another():
    wide = pictures.draw({"kind": "attention", "panels": [attention(5, 40)] * 3}, "run")
    assert len({axis.get_subplotspec().rowspan.start for axis in maps(wide)}) > 1
    small = pictures.draw({"kind": "attention", "panels": [attention(5, 8)] * 3}, "run")
    assert len({axis.get_subplotspec().rowspan.start for axis in maps(small)}) == 1
    assert max(figure.get_figwidth() for figure in (wide, small)) < 20


def test_running_text_and_its_title_stay_within_the_lines():
    words = [f"word{place}" for place in range(60)]
    panel = {"title": "a title " * 30, "words": words, "weights": [1.0] * 60}
    figure = pictures.draw({"kind": "words", "panels": [panel, panel | {"title": "short"}]}, "run")
    (axis,) = figure.axes
    texts = [(text.get_position(), text.get_text()) for text in axis.texts]
    assert all(x + len(text) <= 105 for (x, _), text in texts)
    assert " ".join(text for _, text in texts if "title" in text) == panel["title"].strip()
    # Nothing stands on anything else, nor outside.
    rows = {y for (_, y), _ in texts}
    assert min(np.diff(sorted(rows))) > 0.99
    assert max(rows) < axis.get_ylim()[0]
    for row in rows:
        line = sorted((x, x + len(text)) for (x, y), text in texts if y == row)
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(line))


def test_a_forecast_begins_at_nought_and_inner_bands_are_darker():
    quantiles = np.arange(15.0).reshape(5, 3).tolist()
    panel = {"past": [1, 2], "future": [3, 4, 5], "levels": [0.05, 0.25, 0.5, 0.75, 0.95], "quantiles": quantiles}
    figure = pictures.draw({"kind": "fan", "unit": "GW", "panels": [panel]}, "run")
    (axis,) = figure.axes
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_array_equal(lines["past"].get_xdata(), [-2, -1])
    np.testing.assert_array_equal(lines["what came"].get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(lines["forecast"].get_ydata(), quantiles[2])
    outer, inner = axis.collections
    assert [outer.get_label(), inner.get_label()] == ["0.05 to 0.95", "0.25 to 0.75"]
    assert outer.get_alpha() < inner.get_alpha()


@pytest.mark.parametrize(("counts", "told"), [([10, 11, 10], "10 to 11 cases"), ([7, 7, 7], "of 7 cases")])
def test_a_reliability_curve_says_how_many_cases_stand_behind_a_point(counts, told):
    picture = {"kind": "reliability", "predicted": [0.1, 0.5, 0.9], "observed": [0, 0.5, 1], "count": counts}
    (axis,) = pictures.draw(picture, "run").axes
    assert told in axis.get_ylabel()


def test_a_kind_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="expected one of attention, fan"):
        pictures.draw({"kind": "film"}, "run")
