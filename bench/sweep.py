"""The sweep of one setting of a rival: fits of growing effort, then those between, until each target is reached as
cheaply as the setting can."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from rivals import Setting, level
from workers import Run

FINE = 1.1  # efforts nearer than this are not told apart
COARSE = 1.5  # the same where the larger one took too long
LEAST = 5.0  # seconds that every run is given, however fast the best one was
KILLED = 3  # runs over their time, after which a setting is given up


def gap(run: Run, best: float) -> float:
    """The relative distance of a run from the optimum; infinite if the run came to nothing."""
    return math.inf if run.value is None or math.isnan(run.value) else run.value / best - 1


def fastest(runs: list[Run], best: float, goal: float) -> Run | None:
    return min((run for run in runs if gap(run, best) <= goal), key=lambda run: run.seconds, default=None)


@dataclass
class Sweep:
    """ask(effort, limit) makes one fit. cutoff: by target, the seconds beyond which this setting cannot be the best one
    of its rival; a run is stopped there, or at the limit."""

    ask: Callable[[int, float], Run]
    setting: Setting
    best: float
    cutoff: dict[float, float]
    limit: float
    runs: list[Run] = field(default_factory=list)
    end: str = ""

    def go(self) -> Sweep:
        self._add(self.setting.first)
        while not (end := self._ended()):
            self._add(self._next() or 0)
        self.end = end
        for goal in self.cutoff:
            while (effort := self._between(goal)) is not None:
                self._add(effort)
        return self

    def _add(self, effort: int) -> None:
        self.runs.append(self.ask(effort, self._allowed()))

    def _open(self) -> list[float]:
        """The targets that no run has reached."""
        return [goal for goal in self.cutoff if not fastest(self.runs, self.best, goal)]

    def _allowed(self) -> float:
        """Seconds that are of use to a run."""
        return min(self.limit, max(LEAST, *(self.cutoff[goal] for goal in self._open() or self.cutoff)))

    def _next(self) -> int | None:
        """Twice the iterations, or what the time leaves room for; a tenth of the tolerance; after a run over its time,
        between the largest effort that was in time and the least that was not."""
        run = max((run for run in self.runs if run.value is not None), key=lambda run: run.effort, default=Run(0, 0.0))
        over = [run.effort for run in self.runs if run.value is None]
        if over:
            wide = self.setting.by_tolerance or min(over) > COARSE * run.effort
            return self._middle(run.effort, min(over)) if wide else None
        if self.setting.by_tolerance:
            return run.effort + 4 if run.effort + 4 <= level(1e-14) else None
        effort = min(2 * run.effort, int(run.effort * 0.92 * self._allowed() / max(run.seconds, 1e-9)))
        return effort if effort > FINE * run.effort else None

    def _ended(self) -> str:
        """Why the ladder ends here, or nothing."""
        run, left = self.runs[-1], self._open()
        if run.error:
            return "failed"
        if not left:
            return "reached"
        in_time = "limit" if self._allowed() == self.limit else "slower"
        if run.value is not None and (run.stopped or self._stuck()):
            return "stalled"
        if sum(run.value is None for run in self.runs) >= KILLED or self._next() is None:
            return "stalled" if self.setting.by_tolerance and run.value is not None else in_time
        return "slower" if run.value is not None and all(run.seconds > self.cutoff[goal] for goal in left) else ""

    def _stuck(self) -> bool:
        """Whether the last three runs, each of twice the effort, got no nearer."""
        last = [gap(run, self.best) for run in self.runs[-3:]]
        return len(last) == 3 and last[2] > 0.98 * last[0] and not math.isinf(last[0])

    def _between(self, goal: float) -> int | None:
        """An effort between the largest that misses the target and the least that reaches it."""
        efforts = [run.effort for run in self.runs if gap(run, self.best) <= goal]
        if not efforts:
            return None
        below = [run for run in self.runs if run.effort < min(efforts)]
        low = max(below, key=lambda run: run.effort, default=Run(0, 0.0))
        return None if low.seconds > self.cutoff[goal] else self._middle(low.effort, min(efforts))

    def _middle(self, low: int, high: int) -> int | None:
        if self.setting.by_tolerance:
            return (low + high) // 2 if high - low > 1 else None
        middle = round(math.sqrt(max(low, 0.5) * high))
        return middle if low < middle < high and high > FINE * low else None
