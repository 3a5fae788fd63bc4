"""Matching calls that are wanted to calls that were made: as many as can be, each consumed once, in a partial order.

Without an order this is maximum bipartite matching by augmenting paths (Kuhn, *The Hungarian Method*, 1955; Berge's
theorem). An order between the wanted calls makes it a search, which is bounded by the matching without one.
"""

from collections.abc import Collection, Mapping, Sequence

MOST_STEPS = 20_000  # of the search, from which on the best that was found counts


def maximum(edges: Sequence[Collection[int]]) -> dict[int, int]:
    """A maximum matching: for each row that is matched, one of its columns, no column twice."""
    holder: dict[int, int] = {}

    def placed(row: int, seen: set[int]) -> bool:
        for column in sorted(edges[row]):
            if column in seen:
                continue
            seen.add(column)
            if column not in holder or placed(holder[column], seen):
                holder[column] = row
                return True
        return False

    for row in range(len(edges)):
        placed(row, set())
    return {row: column for column, row in sorted(holder.items())}


def ordered(edges: Sequence[Collection[int]], before: Mapping[int, Collection[int]]) -> dict[int, int]:
    """A maximum matching in which a row's column comes after the columns of all rows `before` it that are matched.

    Rows are in a topological order: what comes before a row has a lower number.
    """
    most = len(maximum(edges))
    best: dict[int, int] = {}
    steps = 0

    def search(row: int, chosen: dict[int, int], used: set[int]) -> bool:
        """Whether the best that there can be was found."""
        nonlocal best, steps
        steps += 1
        if len(chosen) > len(best):
            best = dict(chosen)
        if len(best) == most or steps > MOST_STEPS:
            return True
        if row == len(edges) or len(chosen) + len(edges) - row <= len(best):
            return False
        earliest = max((chosen[other] for other in before.get(row, ()) if other in chosen), default=-1)
        for column in sorted(edges[row]):
            if column > earliest and column not in used:
                chosen[row] = column
                if search(row + 1, chosen, used | {column}):
                    return True
                del chosen[row]
        return search(row + 1, chosen, used)

    search(0, {}, set())
    return best
