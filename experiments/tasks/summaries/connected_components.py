"""The connected components of a graph, by union-find."""

from collections.abc import Iterable


def components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each of the places 0, ..., ``count`` - 1, the first place of its component."""
    above = list(range(count))

    def first(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    for link in links:
        this, that = map(first, link)
        above[max(this, that)] = min(this, that)
    return [first(place) for place in range(count)]
