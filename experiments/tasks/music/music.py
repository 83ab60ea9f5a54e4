"""The music task: which of the 88 keys of a piano sound at the next step, given all steps before.

The default pieces are the four-part chorales of J. S. Bach, from the corpus of the package music21; a step is a quarter
note. `path` reads the files of Boulanger-Lewandowski et al. 2012 ("Modeling temporal dependencies in high-dimensional
sequences", ICML). The setting, keys independent given the past, and the measure, nats a step, are theirs.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from experiments.system.errors import UserError
from experiments.tasks import packages
from experiments.tasks.inputs import Vectors
from experiments.tasks.music import musicxml
from experiments.tasks.packages import DataSet
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, stored

VOICES = 4
HELD_OUT = 0.15
"""The part of the chorales that validates; as large a part tests."""
_PASSAGE = 8
"""Chorales that share so many chords in a row, in whatever key, lie in the same split."""
_SPLIT_SEED = 0
_MATLAB = {"train": "traindata", "validation": "validdata", "test": "testdata"}
_STEPS_SHOWN = 64

Roll = np.ndarray
"""What sounds in one piece: (T, 88) float32, 0 or 1."""


class MusicConfig(TaskBlock):
    """Training rows are at most ``window`` steps of a piece, from a random place, in a random key."""

    per_step: ClassVar[bool] = True
    predicts_inputs: ClassVar[bool] = True
    name: Literal["music"]
    path: str | None = None
    """A MATLAB file to learn instead, with traindata, validdata and testdata, each a cell array of (T, 88) matrices of
    0 and 1 (relative to where the command runs); None: the chorales."""
    window: Annotated[int, Field(gt=0)] = 96
    transpose: Annotated[int, Field(ge=0, lt=musicxml.KEYS)] = 0
    """Training pieces are moved by up to so many keys, up or down, within the range of the training split."""


def check_data(config: MusicConfig) -> None:
    """Raise UserError if the pieces are not there; nothing is loaded."""
    if config.path is None:
        _folder()
        return
    if not Path(config.path).is_file():
        raise UserError(f"task.path: expected a MATLAB file, found none at {Path(config.path).absolute()}")
    packages.check_imports("scipy", task=config.name)


def build(config: MusicConfig) -> Task:
    """Load the pieces: inputs (B, T, 88) are the keys of each step, targets (B, T, 88) those of the step after it."""
    pieces = _chorales(_folder()) if config.path is None else _from_matlab(Path(config.path))
    splits = {name: _rows(rolls) for name, rolls in pieces.items()}
    sounding = np.flatnonzero(np.concatenate(pieces["train"]).any(axis=0))
    lowest, highest = int(sounding[0]), int(sounding[-1])

    def change(batch: Batch, rng: np.random.Generator) -> Batch:
        return _transpose(_crop(batch, config.window, rng), config.transpose, (lowest, highest), rng)

    files = sorted(_folder().glob("*.mxl")) if config.path is None else [Path(config.path)]
    return Task(
        name="music",
        inputs=Vectors(musicxml.KEYS),
        outputs=musicxml.KEYS,
        per_step=config.per_step,
        loss="bernoulli",
        metrics=("nll_per_step",),
        floor={"nll_per_step": markov_nll(pieces["train"], pieces["test"])},
        floor_note=(
            "first-order Markov chain of each key by itself, on or off given on or off a step before, counted on the "
            f"training pieces; keys that know no past reach {marginal_nll(pieces['train'], pieces['test']):.2f}"
        ),
        **stored(splits, change),
        assess=functools.partial(_assess, (lowest, highest)),
        facts={
            "sha256": packages.sha256(*files),
            **{f"{name}_pieces": len(rolls) for name, rolls in pieces.items()},
            **{f"{name}_steps": sum(map(len, rolls)) for name, rolls in pieces.items()},
            "keys_per_step": round(float(np.concatenate([*pieces["train"]]).sum(axis=1).mean()), 3),
        },
    )


def markov_nll(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """Nats a step of a Markov chain of each key by itself, with half an observation added to each count."""
    before, after = (np.concatenate([piece[place] for piece in train]) for place in (slice(-1), slice(1, None)))
    chance = [((after * was).sum(axis=0) + 0.5) / (was.sum(axis=0) + 1) for was in (1 - before, before)]
    return _nll([np.where(piece[:-1] > 0, chance[1], chance[0]) for piece in test], test)


def marginal_nll(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """Nats a step of keys that sound as often as in the training pieces, whatever came before."""
    notes = np.concatenate(train)
    chance = (notes.sum(axis=0) + 0.5) / (len(notes) + 1)
    return _nll([np.broadcast_to(chance, piece[1:].shape) for piece in test], test)


def _nll(chances: Sequence[np.ndarray], pieces: Sequence[Roll]) -> float:
    """Nats a step, as the loss has them: over all steps but the first of each piece, before which nothing comes."""
    chance, sounds = np.concatenate(chances), np.concatenate([piece[1:] for piece in pieces])
    return round(float(-np.log(np.where(sounds > 0, chance, 1 - chance)).sum(axis=1).mean()), 3)


def _folder() -> Path:
    return packages.find("music21", "corpus/bach", task="music")


# The files take two seconds to parse; a process that builds the task twice parses them once.
@functools.cache
def _chorales(folder: Path) -> Mapping[str, list[Roll]]:
    """The four-part pieces by split; pieces that share a passage lie in the same split."""
    scores = [musicxml.read(path) for path in sorted(folder.glob("*.mxl"))]
    rolls = [musicxml.piano_roll(parts).astype(np.float32) for parts in scores if len(parts) == VOICES]
    families = _families(rolls)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(families))
    splits: dict[str, list[Roll]] = {"test": [], "validation": [], "train": []}
    for place in order:
        open_splits = (name for name in ("test", "validation") if len(splits[name]) < HELD_OUT * len(rolls))
        splits[next(open_splits, "train")].extend(rolls[piece] for piece in families[place])
    return splits


def _families(rolls: Sequence[Roll]) -> list[list[int]]:
    """Families of pieces that share a passage, directly or through others: lists of places, in order of the first."""
    family = list(range(len(rolls)))
    seen: dict[tuple[tuple[int, ...], ...], int] = {}
    for piece, roll in enumerate(rolls):
        chords = [np.flatnonzero(keys) for keys in roll]
        for start in range(len(chords) - _PASSAGE + 1):
            passage = chords[start : start + _PASSAGE]
            bass = next((int(chord[0]) for chord in passage if len(chord)), 0)
            signature = tuple(tuple((chord - bass).tolist()) for chord in passage)
            old, new = family[seen.setdefault(signature, piece)], family[piece]
            if old != new:
                family = [min(old, new) if member in (old, new) else member for member in family]
    return [[piece for piece, member in enumerate(family) if member == first] for first in sorted(set(family))]


def _from_matlab(path: Path) -> dict[str, list[Roll]]:
    # Imported here, because it takes a fifth of a second and only this function needs it. SciPy comes with JAX.
    from scipy.io import loadmat

    try:
        contents = loadmat(path)
    except Exception as error:  # a damaged file may lead to any error, such as an IndexError
        raise UserError(
            f"task.path: expected a MATLAB file (version 4 to 7.2, as save -v7 writes it), but {path}: {error}"
        ) from None
    missing = [name for name in _MATLAB.values() if name not in contents]
    if missing:
        found = ", ".join(name for name in contents if not name.startswith("__")) or "nothing"
        raise UserError(f"task.path: expected {', '.join(_MATLAB.values())} in {path}, found {found}")
    pieces = {split: _pieces(contents[name], name, path) for split, name in _MATLAB.items()}
    if not any(piece.any() for piece in pieces["train"]):
        raise UserError(f"task.path: expected notes in {_MATLAB['train']} of {path}, got zeros alone")
    return pieces


def _pieces(cells: Any, name: str, path: Path) -> list[Roll]:
    expected = f"task.path: expected a cell array of matrices (steps >= 2, {musicxml.KEYS}) as {name} of {path}"
    # Only cell arrays come as arrays of objects.
    if not isinstance(cells, np.ndarray) or cells.dtype != object:
        raise UserError(f"{expected}, got {_shown(cells)}; put each piece into a cell of its own")
    if not cells.size:
        raise UserError(f"{expected}, got an empty one; every part needs a piece")
    return [_checked(cell, name, path, expected) for cell in cells.ravel()]


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        return f"a matrix of shape {value.shape}"
    return "text" if isinstance(value, np.ndarray) and value.dtype.kind == "U" else f"a {type(value).__name__}"


def _checked(piece: Any, name: str, path: Path, expected: str) -> Roll:
    fits = isinstance(piece, np.ndarray) and piece.ndim == 2 and piece.dtype.kind in "buif"
    if not fits or piece.shape[1] != musicxml.KEYS or len(piece) < 2:
        hint = "transpose it" if fits and len(piece) == musicxml.KEYS else "make each a full matrix, steps by keys"
        raise UserError(f"{expected}, got {_shown(piece)} in it; {hint}")
    if not np.isin(piece, (0, 1)).all():
        raise UserError(f"task.path: expected 0 and 1 in {name} of {path}, got {piece.min()} to {piece.max()}")
    return piece.astype(np.float32)


def _rows(pieces: Sequence[Roll]) -> Batch:
    """A batch of pieces of different lengths, as rows that are zero from their ends on."""
    lengths = np.array([len(piece) - 1 for piece in pieces], np.int32)
    inputs, targets = (np.zeros((len(pieces), lengths.max(), musicxml.KEYS), np.float32) for _ in range(2))
    for row, (piece, length) in enumerate(zip(pieces, lengths, strict=True)):
        inputs[row, :length], targets[row, :length] = piece[:-1], piece[1:]
    weights = (np.arange(lengths.max()) < lengths[:, None]).astype(np.float32)
    return Batch(inputs, targets, weights, lengths)


def _crop(batch: Batch, window: int, rng: np.random.Generator) -> Batch:
    """The batch, cut to ``window`` steps of each row from a random place, or to all steps that it has."""
    lengths = np.asarray(batch.seq_lengths)
    first = rng.integers(np.maximum(lengths - window, 0) + 1)[:, None]
    steps = np.minimum(first + np.arange(min(window, batch.inputs.shape[1])), batch.inputs.shape[1] - 1)
    rows = np.arange(len(lengths))[:, None]
    inputs, targets, weights = (field[rows, steps] for field in (batch.inputs, batch.targets, batch.weights))
    return Batch(inputs, targets, weights, np.minimum(lengths, window).astype(np.int32))


def _transpose(batch: Batch, most: int, limits: tuple[int, int], rng: np.random.Generator) -> Batch:
    """The batch, each row moved by up to ``most`` keys, as far as all its notes stay within ``limits``."""
    used = batch.inputs.any(axis=1) | batch.targets.any(axis=1)
    # A row without a note stays where it is.
    lowest = np.where(used.any(axis=1), used.argmax(axis=1), limits[0])
    highest = np.where(used.any(axis=1), used.shape[1] - 1 - used[:, ::-1].argmax(axis=1), limits[1])
    shifts = rng.integers(np.maximum(-most, limits[0] - lowest), np.minimum(most, limits[1] - highest) + 1)
    keys = (np.arange(used.shape[1]) - shifts[:, None])[:, None] % used.shape[1]
    return batch._replace(
        inputs=np.take_along_axis(batch.inputs, keys, axis=2), targets=np.take_along_axis(batch.targets, keys, axis=2)
    )


def _assess(limits: tuple[int, int], pairs: Any) -> Assessment:
    """A picture of the first piece: what came, and the probability that the model gave each key a step before."""
    batch, outputs = next(iter(pairs))
    steps, keys = slice(min(_STEPS_SHOWN, int(batch.seq_lengths[0]))), slice(limits[0], limits[1] + 1)
    probability = 1 / (1 + np.exp(-outputs[0, steps, keys].astype(np.float64)))
    rows = {"what came": batch.targets[0, steps, keys].astype(int), "predicted probability": probability.round(3)}
    picture = {
        "kind": "roll",
        "rows": {name: values.tolist() for name, values in rows.items()},
        "lowest": musicxml.LOWEST + limits[0],
    }
    return Assessment({}, {"piano_roll": picture})


DATA = DataSet("Bach chorales", "music21", "corpus/bach", "public domain; encodings restricted")
register(MusicConfig, check_data=check_data, build=build, data=[DATA])
