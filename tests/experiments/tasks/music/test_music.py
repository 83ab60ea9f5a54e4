import importlib.util
import itertools
import zipfile

import numpy as np
import pytest
import scipy.sparse
from scipy.io import savemat

from experiments.system.errors import UserError
from experiments.tasks import packages
from experiments.tasks.music import music, musicxml
from experiments.tasks.music.music import MusicConfig, build, check_data

BACH = packages.folder_of("music21") and packages.find("music21", "corpus/bach", task="music")
needs_corpus = pytest.mark.skipif(BACH is None, reason=f"needs music21: {packages.INSTALL}")

SCORE = """<?xml version="1.0"?><score-partwise><part id="P1">
<measure><attributes><divisions>2</divisions></attributes>
 <note><pitch><step>C</step><octave>4</octave></pitch><duration>3</duration></note>
 <note><grace/><pitch><step>G</step><octave>5</octave></pitch></note>
 <note><pitch><step>B</step><alter>-1</alter><octave>3</octave></pitch><duration>1</duration></note>
 <note><rest/><duration>2</duration></note>
 <backup><duration>4</duration></backup>
 <note><pitch><step>A</step><octave>0</octave></pitch><duration>2</duration></note>
 <forward><duration>2</duration></forward>
</measure>
<measure><attributes><divisions>3</divisions></attributes>
 <note><pitch><step>C</step><octave>8</octave></pitch><duration>3</duration></note>
 <note><chord/><pitch><step>F</step><alter>1</alter><octave>4</octave></pitch><duration>3</duration></note>
 <note><pitch><step>D</step><octave>4</octave></pitch><duration>1</duration></note>
</measure></part>
<part id="P2"><measure>
 <note><pitch><step>E</step><octave>4</octave></pitch><duration>1</duration></note>
</measure></part>
</score-partwise>"""
# Key (MIDI - 21), start and end in quarter notes, worked out by hand: the measures begin at 0 and 3.
NOTES = [
    [(39, 0, 1.5), (37, 1.5, 2), (0, 1, 2), (87, 3, 4), (45, 3, 4), (41, 4, 4 + 1 / 3)],
    [(43, 0, 1)],
]


def write_zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>'
        )
        archive.writestr("a.xml", SCORE)


def test_a_score_is_read_note_by_note(tmp_path):
    (tmp_path / "score.xml").write_text(SCORE)
    write_zipped(tmp_path / "score.mxl")
    for name in ("score.xml", "score.mxl"):
        parts = musicxml.read(tmp_path / name)
        for notes, expected in zip(parts, NOTES, strict=True):
            assert [note.key for note in notes] == [key for key, _, _ in expected]
            np.testing.assert_allclose([note[1:] for note in notes], [times for _, *times in expected])


def test_a_piano_roll_is_what_sounds_at_each_step(tmp_path):
    (tmp_path / "score.xml").write_text(SCORE)
    parts = musicxml.read(tmp_path / "score.xml")
    for step in (1.0, 0.5):
        roll = musicxml.piano_roll(parts, step)
        sounding = [
            sorted(key for key, start, end in itertools.chain(*NOTES) if start <= time < end)
            for time in np.arange(0, 4 + 1 / 3, step)
        ]
        assert [np.flatnonzero(keys).tolist() for keys in roll] == sounding


@needs_corpus
def test_the_chorales_are_those_that_are_known():
    """Counts of DATASETS.md but for one piece of 24 steps; the tune of BWV 269, read from the score by eye."""
    splits = music._chorales(BACH)
    pieces = list(itertools.chain(*splits.values()))
    assert len(pieces) == 364
    assert sum(map(len, pieces)) == 19_810
    assert np.concatenate(pieces).sum() / 19_810 == pytest.approx(3.87, abs=0.005)
    roll = musicxml.piano_roll(musicxml.read(BACH / "bwv269.mxl"))
    tune = [67, 67, 67, 74, 71, 71, 67, 67, 67, 71, 69, 69]
    assert [int(np.flatnonzero(keys).max()) + 21 for keys in roll[:12]] == tune


@needs_corpus
def test_no_passage_stands_in_two_splits():
    def passages(pieces):
        found = set()
        for roll in pieces:
            for start in range(len(roll) - 7):
                step, key = np.nonzero(roll[start : start + 8])
                found.add(tuple(zip(step, key - key[step == step[0]].min(), strict=True)) if len(key) else ())
        return found

    splits = {name: passages(pieces) for name, pieces in music._chorales(BACH).items()}
    assert all(len(found) > 1000 for found in splits.values())
    for left, right in itertools.combinations(splits, 2):
        assert not splits[left] & splits[right]
    sizes = {name: len(pieces) for name, pieces in music._chorales(BACH).items()}
    assert sizes == {"test": 55, "validation": 55, "train": 254}


@pytest.fixture(scope="module")
def pieces():
    """Random pieces of three keys next to each other, which hold on to their notes."""
    rng = np.random.default_rng(0)

    def piece(length):
        roll = np.zeros((length, 88))
        for step, key in itertools.product(range(length), (30, 31, 33)):
            held = step and roll[step - 1, key]
            roll[step, key] = rng.random() < (0.8 if held else 0.3)
        return roll

    return {name: [piece(length) for length in (7, 20, 12)] for name in ("traindata", "validdata", "testdata")}


def write_matlab(path, pieces):
    cells = {}
    for name, rolls in pieces.items():
        cells[name] = np.empty((1, len(rolls)), object)
        cells[name][0, :] = rolls
    savemat(path, cells)
    return str(path)


def test_a_matlab_file_of_ones_own(tmp_path, pieces):
    task = build(MusicConfig(name="music", path=write_matlab(tmp_path / "own.mat", pieces), window=50))
    (batch,) = task.split_batches("test", 10)
    assert batch.seq_lengths.tolist() == [6, 19, 11]
    for row, piece in enumerate(pieces["testdata"]):
        steps = len(piece) - 1
        np.testing.assert_array_equal(batch.inputs[row, :steps], piece[:-1])
        np.testing.assert_array_equal(batch.targets[row, :steps], piece[1:])
        assert batch.weights[row].tolist() == [1] * steps + [0] * (19 - steps)
    assert task.facts["train_pieces"] == 3


def test_the_floors_are_counted_key_by_key(pieces):
    chain = marginal = steps = 0.0
    for piece in pieces["testdata"]:
        for before, after in itertools.pairwise(piece):
            steps += 1
            for key in range(88):
                pairs = [pair for other in pieces["traindata"] for pair in itertools.pairwise(other[:, key])]
                alike = [new for old, new in pairs if old == before[key]]
                chance = (sum(alike) + 0.5) / (len(alike) + 1)
                chain -= np.log(chance if after[key] else 1 - chance)
                every = np.concatenate([other[:, key] for other in pieces["traindata"]])
                chance = (every.sum() + 0.5) / (len(every) + 1)
                marginal -= np.log(chance if after[key] else 1 - chance)
    assert music.markov_nll(pieces["traindata"], pieces["testdata"]) == pytest.approx(chain / steps, abs=6e-4)
    assert music.marginal_nll(pieces["traindata"], pieces["testdata"]) == pytest.approx(marginal / steps, abs=6e-4)


def test_training_rows_are_windows_of_a_piece_in_other_keys(tmp_path, pieces):
    # The training pieces use keys 30 to 33; this one, with 30 and 31 alone, may go up by two and no further.
    low = [piece * (np.arange(88) < 32) for piece in pieces["traindata"][1:2]]
    path = write_matlab(tmp_path / "low.mat", pieces | {"traindata": [*pieces["traindata"], *low]})
    task = build(MusicConfig(name="music", path=path, window=10, transpose=5))
    seen = set()
    for step in range(40):
        batch = task.train_batch(0, step, 4)
        assert batch.inputs.shape == (4, 10, 88)
        for inputs, targets, weights, length in zip(*batch, strict=True):
            assert length == min(int(weights.sum()), 10)
            found = [
                (number, start, shift)
                for number, piece in enumerate([*pieces["traindata"], *low])
                for start, shift in itertools.product(range(max(len(piece) - 10, 1)), range(-5, 6))
                if len(piece) - 1 - start >= length
                and np.array_equal(np.roll(piece, shift, 1)[start : start + length], inputs[:length])
                and np.array_equal(np.roll(piece, shift, 1)[start + 1 : start + 1 + length], targets[:length])
            ]
            assert found
            seen |= {(number, shift) for number, _, shift in found}
    assert {shift for number, shift in seen if number == 3} == {0, 1, 2}
    assert {shift for number, shift in seen if number < 3} == {0}


WRONG = {
    "a part missing": (lambda cells: {"traindata": cells["traindata"]}, r"expected traindata, .* found traindata"),
    "keys first": (
        lambda cells: cells | {"testdata": [roll.T for roll in cells["testdata"]]},
        r"got a matrix of shape \(88, 7\) in it; transpose it",
    ),
    "one step": (
        lambda cells: cells | {"validdata": [roll[:1] for roll in cells["validdata"]]},
        r"as validdata .*got a matrix of shape \(1, 88\) in it; make each a full matrix, steps by keys",
    ),
    "sparse": (
        lambda cells: cells | {"traindata": [scipy.sparse.csc_matrix(roll) for roll in cells["traindata"]]},
        r"got a csc_\w+ in it; make each a full matrix",
    ),
    "text": (lambda cells: cells | {"traindata": ["do", "re"]}, r"as traindata of .*own.mat, got text in it"),
    "no training piece": (lambda cells: cells | {"traindata": []}, r"as traindata .*own.mat, got an empty one; every"),
    "no test piece": (
        lambda cells: cells | {"testdata": []},
        r"as testdata of .*own.mat, got an empty one; every part",
    ),
    "silence": (
        lambda cells: cells | {"traindata": [roll * 0 for roll in cells["traindata"]]},
        r"expected notes in traindata of .*own.mat, got zeros alone",
    ),
    "loudness": (lambda cells: cells | {"validdata": [roll * 3 for roll in cells["validdata"]]}, r"0 and 1 .* to 3.0"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_matlab_file_that_is_something_else_is_refused(tmp_path, pieces, mistake):
    change, message = WRONG[mistake]
    path = write_matlab(tmp_path / "own.mat", change(pieces))
    with pytest.raises(UserError, match=f"task.path: .*{message}"):
        build(MusicConfig(name="music", path=path))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.eye(88), r"a matrix of shape \(88, 88\)"),
        ("do re", "text"),
        (scipy.sparse.eye_array(88).tocsc(), r"a csc_\w+"),
    ],
    ids=["matrix", "text", "sparse"],
)
def test_what_is_no_cell_array_is_told(tmp_path, pieces, value, shown):
    cells = {name: np.array([*rolls, None], object)[:-1] for name, rolls in pieces.items()}
    savemat(tmp_path / "own.mat", cells | {"validdata": value})
    with pytest.raises(
        UserError, match=rf"as validdata of .*own\.mat, got {shown}; put each piece into a cell of its own"
    ):
        build(MusicConfig(name="music", path=str(tmp_path / "own.mat")))


@pytest.mark.parametrize("length", [0, 1, 100, 128, 136, 3000])
def test_a_file_that_breaks_off_is_told_in_a_line(tmp_path, pieces, length):
    path = write_matlab(tmp_path / "own.mat", pieces)
    (tmp_path / "own.mat").write_bytes((tmp_path / "own.mat").read_bytes()[:length])
    with pytest.raises(UserError, match=r"^task\.path: expected .*own\.mat") as caught:
        build(MusicConfig(name="music", path=path))
    assert "\n" not in str(caught.value)


def test_without_scipy_a_matlab_file_cannot_be_read(monkeypatch, tmp_path):
    (tmp_path / "own.mat").touch()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else find(name))
    with pytest.raises(
        UserError, match=r'music imports the package scipy, .* run: pip install -e "\.\[experiments\]"$'
    ):
        check_data(MusicConfig(name="music", path=str(tmp_path / "own.mat")))


def test_files_that_are_missing_or_no_matlab_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"task.path: expected a MATLAB file, found none at .*none.mat"):
        check_data(MusicConfig(name="music", path=str(tmp_path / "none.mat")))
    (tmp_path / "text.mat").write_text("not a MATLAB file, but long enough to have a header that can be looked at" * 9)
    with pytest.raises(UserError, match=r"task.path: expected a MATLAB file .*text.mat"):
        build(MusicConfig(name="music", path=str(tmp_path / "text.mat")))


def test_the_picture_shows_the_first_piece_and_the_probabilities(tmp_path, pieces):
    task = build(MusicConfig(name="music", path=write_matlab(tmp_path / "own.mat", pieces)))
    (batch,) = task.split_batches("test", 10)
    picture = task.assess([(batch, np.log(3) * (2 * batch.targets - 1))]).pictures["piano_roll"]
    shown = pieces["testdata"][0][1:, 30:34]
    assert picture["lowest"] == 51
    np.testing.assert_array_equal(picture["rows"]["what came"], shown)
    np.testing.assert_allclose(picture["rows"]["predicted probability"], np.where(shown, 0.75, 0.25))
