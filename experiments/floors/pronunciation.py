"""pronunciation: a table from each letter, with the letters around it, to the phones that it most often stands for.

The table is fitted to the rows that a model trains on. Every letter stands for none, one or two phones, in order; the
cheapest alignment says which. Dynamic programming finds it, with costs counted in the alignments of the round before.
Two tokens say what a letter stands for: (0, 0) for no phone, (0, b) for one, (a, b) for two.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.floors.measured_floor import MeasuredFloor, constant_as_text, in_note
from experiments.tasks.inputs import Translation
from experiments.tasks.task import Batch, Task
from experiments.tasks.translation.pronunciation import LETTERS, PronunciationConfig, build

CONFIG = PronunciationConfig(name="pronunciation")
NOTE = "fitted to all training rows, variants too; of alignments that cost the same always the same is taken"
ROUNDS = 5
"""Rounds of alignment; those of the last round fill the tables, and more rounds change nothing."""
CONTEXT = 2
"""Letters on either side; fewer where there was no such context in training."""
_OUTSIDE = len(LETTERS)
_CHUNK = 1024
_SILENT = 0.3
"""How much a letter counts as silent before the first round, in a word without as many letters as phones."""
_UNSEEN, _ALL_UNSEEN = 0.1, 10
"""Added to the count of what a letter stands for, and to the sum of its counts."""
_UNIT = 2**-20


class Rows(NamedTuple):
    """Words and their phones, as tokens."""

    letters: np.ndarray
    """(N, S); the first ``lengths`` (N,) of a row count."""
    lengths: np.ndarray
    phones: np.ndarray
    """(N, L); the first ``counts`` (N,) of a row count, fewer than L; 0 after them."""
    counts: np.ndarray


def measure() -> Iterator[MeasuredFloor]:
    """Phone and word error rate, with stress and without; and, as in the note, the phone error rate without context."""
    for stress in (True, False):
        task = build(CONFIG.model_copy(update={"stress": stress}))
        count: Any = task.facts["train_rows"]
        tables = fit(_rows(task.train_batch(0, 0, count)), task.outputs)
        found, alone = score(task, tables), score(task, tables[:1])
        name = "pronunciation" if stress else "pronunciation, no stress"
        for metric, constant in task.floor.items():
            yield MeasuredFloor(name, metric, found[metric], constant_as_text(constant))
        constant = in_note(task.floor_note, *(("has ", " wrong") if stress else ("phones (", " without stress")))
        yield MeasuredFloor(name, "phone_error_rate, no context", alone["phone_error_rate"], constant)


def fit(rows: Rows, tokens: int) -> list[dict[int, tuple[int, int]]]:
    """A table for 0 to `CONTEXT` letters on either side: what the middle of each of `windows` most often stands for."""
    rows = Rows(*(field[rows.counts <= 2 * rows.lengths] for field in rows))
    seen = _first_counts(rows, tokens)
    inside = _inside(rows)
    pairs = align(rows, _costs(seen))[inside]
    for _ in range(ROUNDS - 1):
        seen = np.zeros_like(seen)
        np.add.at(seen, (rows.letters[inside], *pairs.T), 1)
        pairs = align(rows, _costs(seen))[inside]
    tables = []
    for radius in range(CONTEXT + 1):
        found = np.column_stack([windows(rows, radius)[inside], pairs])
        kinds, times = np.unique(found, axis=0, return_counts=True)
        # The commonest entry of a window comes last, and so stays.
        tables.append({window: (a, b) for window, a, b in kinds[np.argsort(times, kind="stable")].tolist()})
    return tables


def windows(rows: Rows, radius: int) -> np.ndarray:
    """One number for each letter with ``radius`` letters on either side of it, (N, S)."""
    letters = np.where(_inside(rows), rows.letters, _OUTSIDE)
    letters = np.pad(letters, ((0, 0), (radius, radius)), constant_values=_OUTSIDE).astype(np.int64)
    width = 2 * radius + 1
    seen = np.lib.stride_tricks.sliding_window_view(letters, width, axis=1)
    return seen @ (_OUTSIDE + 1) ** np.arange(width)


def align(rows: Rows, costs: np.ndarray) -> np.ndarray:
    """What each letter stands for, (N, S, 2), in the alignment whose ``costs`` (letters, tokens, tokens) sum to least.

    On a tie the last letters stand for the fewest phones. A word has at most two phones a letter.
    """
    pairs = np.zeros((*rows.letters.shape, 2), np.int64)
    # Words of about the same length go together, as short rows, which stay in the cache.
    order = np.argsort(rows.lengths + rows.counts, kind="stable")
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        some = Rows(*(field[chunk] for field in rows))
        steps, ends = some.lengths.max(), some.counts.max() + 1
        pairs[chunk, :steps] = _align(
            some._replace(letters=some.letters[:, :steps], phones=some.phones[:, :ends]), costs
        )
    return pairs


def _align(rows: Rows, costs: np.ndarray) -> np.ndarray:
    letters, lengths, phones, counts = rows
    row = np.arange(len(letters))
    # least[b, j]: the least cost at which the letters so far stand for the first j phones.
    least = np.full(phones.shape, np.inf)
    least[:, 0] = 0
    taken = np.zeros((*letters.shape, phones.shape[1]), np.int64)
    for step in range(letters.shape[1]):
        letter = letters[:, step, None]
        ways = np.full((3, *phones.shape), np.inf)
        ways[0] = least + costs[letter, 0, 0]
        ways[1, :, 1:] = least[:, :-1] + costs[letter, 0, phones[:, :-1]]
        ways[2, :, 2:] = least[:, :-2] + costs[letter, phones[:, :-2], phones[:, 1:-1]]
        taken[:, step] = ways.argmin(axis=0)
        least = ways.min(axis=0)
    pairs = np.zeros((*letters.shape, 2), np.int64)
    end = counts.copy()
    for step in reversed(range(letters.shape[1])):
        many = np.where(step < lengths, taken[row, step, end], 0)
        pairs[:, step, 0] = np.where(many == 2, phones[row, end - 2], 0)
        pairs[:, step, 1] = np.where(many > 0, phones[row, end - 1], 0)
        end = end - many
    return pairs


def score(task: Task, tables: Sequence[dict[int, tuple[int, int]]]) -> dict[str, float]:
    """The task's own metrics on the test words; each letter uses its widest context that there was in training."""
    count: Any = task.facts["test_words"]
    (batch,) = task.split_batches("test", count)
    rows = _rows(batch)
    keys = [windows(rows, radius).tolist() for radius in range(len(tables))]
    tokens = np.zeros((len(rows.letters), 2 * rows.letters.shape[1]), np.int32)
    lengths = np.zeros(len(tokens), np.int32)
    for row, length in enumerate(rows.lengths):
        said = [
            token
            for step in range(length)
            for token in next(
                table[key[row][step]]
                for table, key in zip(tables[::-1], keys[::-1], strict=True)
                if key[row][step] in table
            )
            if token
        ]
        tokens[row, : len(said)], lengths[row] = said, len(said)
    weights = np.broadcast_to(np.float32(0), (*tokens.shape, rows.letters.shape[1]))
    assess: Any = task.assess
    return assess([(batch, Translation(tokens, lengths, weights))]).metrics


def _rows(batch: Batch) -> Rows:
    # The weights count the end token, 0, too.
    return Rows(
        batch.inputs.source, np.asarray(batch.seq_lengths), batch.targets, batch.weights.sum(axis=1).astype(int) - 1
    )


def _inside(rows: Rows) -> np.ndarray:
    return np.arange(rows.letters.shape[1]) < rows.lengths[:, None]


def _first_counts(rows: Rows, tokens: int) -> np.ndarray:
    """(letters, tokens, tokens): letters with the phones in their places, from words with as many phones as letters."""
    seen = np.zeros((len(LETTERS), tokens, tokens))
    row, step = np.nonzero(_inside(rows))
    even = (rows.lengths == rows.counts)[row]
    np.add.at(seen, (rows.letters[row[even], step[even]], 0, rows.phones[row[even], step[even]]), 1)
    np.add.at(seen, (rows.letters[row[~even], step[~even]], 0, 0), _SILENT)
    return seen


def _costs(seen: np.ndarray) -> np.ndarray:
    """Negative logarithms of the shares of each letter (letters, tokens, tokens)."""
    costs = -np.log((seen + _UNSEEN) / (seen.sum(axis=(1, 2), keepdims=True) + _ALL_UNSEEN))
    # Sums are exact in this unit. Either of a doubled letter may be silent, but it has to be the same one everywhere.
    return np.rint(costs / _UNIT) * _UNIT
