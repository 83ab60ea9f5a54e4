"""tf-idf: how alike texts are by the words and short runs of words that they share; rare ones count for more."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def weights(texts: Sequence[Sequence[str]], others: Sequence[Sequence[str]] = (), *, longest: int) -> tuple[Any, Any]:
    """Sparse float32 matrices of ``texts`` and ``others``: a row is a text, a column a run of up to ``longest`` words.

    A run that a text has n times, and that d of the N ``texts`` have, weighs (1 + ln n) (1 + ln((1 + N) / (1 + d)))
    (Manning, Raghavan and Schuetze 2008, sections 6.2 to 6.4). Rows are scaled to norm 1, or 0 without words. Runs that
    only ``others`` have do not count.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    def runs(text: Sequence[str]) -> list[str]:
        return [" ".join(text[at : at + n]) for n in range(1, longest + 1) for at in range(len(text) - n + 1)]

    vectorizer = TfidfVectorizer(analyzer=runs, sublinear_tf=True, dtype=np.float32)
    fitted: Any = vectorizer.fit_transform(texts)
    return fitted, vectorizer.transform(others) if len(others) else fitted[:0]


def likeness(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Cosines of all pairs of texts, by words and pairs of neighbouring words: (N, N) float32, 1 on the diagonal."""
    found, _ = weights(texts, longest=2)
    cosines = (found @ found.T).toarray()
    np.fill_diagonal(cosines, 1)
    return cosines
