"""Decisions: from probabilities to one class, given what mistakes cost; probabilities stay what they are.

Where it costs C[j, k] to answer k for a row of class j, the answer is the class of least expected cost,

    argmin_k  sum_j p_j C[j, k]

(Elkan, The foundations of cost-sensitive learning, IJCAI 2001). What does change probabilities is another share of
each class, p'_k in proportion to p_k s'_k / s_k (Saerens, Latinne and Decaestecker, Neural Computation 14, 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.errors import InputError
from luce.features import Array

STEPS = 10_000  # of the estimate of shares; each is a mean over the rows


def cheapest(p: Array, costs: Array) -> NDArray[np.int64]:
    """The class of least expected cost for each row of probabilities (n, K), costs (K, K): true x answered."""
    expected = np.zeros_like(p)
    for j in range(p.shape[1]):  # in one order for any number of rows; BLAS would choose its own
        expected += p[:, j : j + 1] * costs[j]
    return np.asarray(expected.argmin(axis=1))


def best_of(p: Array, costs: Array | None) -> NDArray[np.int64]:
    """The most probable class of each row of probabilities (n, K), or by costs the cheapest."""
    return np.asarray(p.argmax(axis=1)) if costs is None else cheapest(p, costs)


def costs_of(given: Any, classes: Sequence[Any]) -> Array:
    """The matrix (K, K) that a user means: {class: cost of missing it}, {true: {answered: cost}}, or the matrix itself
    in the order of the classes. What is not named costs 1; a right answer costs 0 unless it is named."""
    size = len(classes)
    out = 1.0 - np.eye(size)
    if isinstance(given, Mapping):
        places = {name: k for k, name in enumerate(classes)}
        for name, cost in given.items():
            row = _place(name, places, "costs")
            if isinstance(cost, Mapping):
                for answered, each in cost.items():
                    out[row, _place(answered, places, "costs")] = _cost(each)
            else:
                out[row] = np.where(np.arange(size) == row, 0.0, _cost(cost))
        return out
    try:
        matrix = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (size, size):
        raise InputError(
            f"costs must be a mapping from classes to numbers, or {size} x {size} numbers (true class x answer)"
        )
    for cost in matrix.ravel().tolist():
        _cost(cost)
    return matrix


def costs_for_recall(
    wanted: Mapping[Any, float], p: Array, codes: NDArray[np.integer], classes: Sequence[Any]
) -> Array:
    """The least costs of missing some classes by which so large a share of their rows is found, of held-out rows with
    these probabilities (n, K) and codes. Several classes are settled one after another, in the order given."""
    places = {name: k for k, name in enumerate(classes)}
    weight = np.ones(len(classes))
    for name, share in wanted.items():
        k = _place(name, places, "recall")
        if not (isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share < 1):
            raise InputError(f"recall of {name!r} is {share!r}: give a share between 0 and 1, such as 0.95")
        own = codes == k
        others = np.delete(p[own] * weight, k, axis=1).max(axis=1)
        with np.errstate(divide="ignore"):
            needed = np.sort(others / p[own, k])  # a row is found where the weight is above this
        place = int(np.ceil(share * len(needed) - 1e-9)) - 1
        if not np.isfinite(needed[place]):
            raise InputError(f"no cost finds {share:g} of the rows of {name!r}: some have a probability of 0")
        weight[k] = max(1.0, needed[place] * (1 + 1e-9))
    return weight[:, np.newaxis] * (1.0 - np.eye(len(classes)))


def shifts(old: Array, new: Array) -> Array:
    """What is added to the logits (outputs,) when the shares of the classes change: log(new / old)."""
    change = np.log(new) - np.log(old)
    return np.asarray(change[1:] - change[:1] if len(change) == 2 else change - change.mean())


def shares_of(given: Any, classes: Sequence[Any]) -> Array:
    """Shares of the classes as a user gives them, a mapping or numbers in their order, made to sum to 1."""
    if isinstance(given, Mapping):
        places = {name: k for k, name in enumerate(classes)}
        for name in given:
            _place(name, places, "shares")
        if missing := [name for name in classes if name not in given]:
            raise InputError(f"shares name no share for {missing[0]!r}: give one for each class")
        given = [given[name] for name in classes]
    try:
        shares = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (len(classes),) or not (np.isfinite(shares).all() and (shares > 0).all()):
        raise InputError(f"shares must be {len(classes)} numbers above 0, one for each class")
    return np.asarray(shares / shares.sum())


def estimated_shares(p: Array, old: Array) -> Array:
    """The shares of the classes in a batch with these probabilities, (K,): the likeliest, by expectation-maximisation.

    p: (n, K), of a model for shares `old`. (Saerens et al., section 2.2.)
    """
    shares = old.copy()
    for _ in range(STEPS):
        weighted = p * (shares / old)
        weighted /= weighted.sum(axis=1, keepdims=True)
        found = weighted.mean(axis=0)
        if np.abs(found - shares).max() <= 1e-10:
            return np.asarray(found)
        shares = found
    return shares


def _place(name: Any, places: Mapping[Any, int], where: str) -> int:
    """Of a class by its name, or by what it looks like in text."""
    if name not in places and isinstance(name, str):
        name = next((c for c in places if str(c) == name), name)
    if name not in places:
        known = ", ".join(repr(c) for c in list(places)[:5]) + (", ..." if len(places) > 5 else "")
        raise InputError(f"{where} names {name!r}, which is no class; there are {known}")
    return places[name]


def _cost(value: Any) -> float:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not np.isfinite(value) or value < 0:
        raise InputError(f"a cost is {value!r}: give numbers from 0 on")
    return float(value)
