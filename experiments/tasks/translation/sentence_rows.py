"""Makes pairs of token lists into the rows that an encoder-decoder trains on, and translations into token lists."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.tasks.inputs import SourceAndTarget, Translation
from experiments.tasks.task import Batch


class Found(NamedTuple):
    """One row of a batch with what was found for it."""

    source: list[int]
    target: list[int]
    """Without its end token; ``found`` likewise."""
    found: list[int]
    weights: np.ndarray
    """The attention: (steps of ``found``, with the end token if it came; tokens of ``source``)."""


def rows(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, start: int, end: int) -> Batch:
    """A batch of pairs: sources of a token or more, padded with 0; targets without their ends, padded with ``end``."""
    source = np.zeros((len(pairs), max(len(source) for source, _ in pairs)), np.int32)
    targets = np.full((len(pairs), max(len(target) for _, target in pairs) + 1), end, np.int32)
    for row, (given, wanted) in enumerate(pairs):
        source[row, : len(given)] = given
        targets[row, : len(wanted)] = wanted
    lengths = np.array([len(given) for given, _ in pairs], np.int32)
    ends = np.array([len(wanted) for _, wanted in pairs])
    target_in = np.concatenate([np.full((len(pairs), 1), start, np.int32), targets[:, :-1]], axis=1)
    weights = (np.arange(targets.shape[1]) <= ends[:, None]).astype(np.float32)
    return Batch(SourceAndTarget(source, target_in), targets, weights, lengths)


def found(batch: Batch, translation: Translation, *, end: int) -> Iterator[Found]:
    """Yield each row with what the search found for it, without the padding rows."""
    lengths: Any = batch.seq_lengths
    for row in np.flatnonzero(batch.weights[:, 0]):
        source = batch.inputs.source[row, : lengths[row]].tolist()
        # The weights count the end token too, which is left out here.
        target = batch.targets[row, : int(batch.weights[row].sum()) - 1].tolist()
        tokens = translation.tokens[row, : translation.lengths[row]].tolist()
        weights = translation.weights[row, : len(tokens), : len(source)]
        yield Found(source, target, [token for token in tokens if token != end], weights)
