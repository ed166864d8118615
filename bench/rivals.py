"""luce and its rivals as bench/fit.py runs them: one class each, with the settings to be tried.

A setting is a solver with the number format and layout it likes best; the effort is what the sweep moves: a limit on
iterations, or a level t that stands for the tolerance 10^(-t/4). `prepare` brings the data into that form and is not
timed; `fit` is. Intercepts are free in the objective; where a rival penalises them, its intercept_scaling weakens that.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from problems import Matrix, Penalty, Problem

THREADS = 2
DENSE_BYTES = 1 << 30  # a dense copy of a sparse matrix is at most so large,
DENSE_SHARE = 0.2  # and tried beside the sparse one if at least so many of its numbers are stored
LARGEST_HESSIAN = 6_000  # columns x outputs, for solvers that factor the whole Hessian
NEVER = 1e-14  # a tolerance that does not stop a fit before its iterations are used up
MANY = 1_000_000  # iterations, where the tolerance shall decide
SCALINGS = (1, 10, 100)  # of the intercept


@dataclass(frozen=True)
class Facts:
    """What the choice of settings depends on."""

    rows: int
    columns: int
    outputs: int
    sparse: bool
    stored: float
    dtype: str

    @staticmethod
    def of(problem: Problem) -> Facts:
        x = problem.X
        share = x.nnz / (problem.rows * problem.columns) if problem.sparse else 1.0
        return Facts(problem.rows, problem.columns, problem.outputs, problem.sparse, share, str(x.dtype))

    @property
    def small(self) -> bool:
        """Whether a dense copy is feasible."""
        return self.rows * self.columns * 4 <= DENSE_BYTES

    @property
    def layouts(self) -> list[bool]:
        """Whether to make a dense copy: the ways worth trying."""
        return [False] + [True] * (self.sparse and self.small and self.stored >= DENSE_SHARE)


@dataclass(frozen=True)
class Setting:
    solver: str
    dtype: str = "float64"
    densify: bool = False
    by_tolerance: bool = False
    first: int = 8
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        extra = [f"{k}={v}" for k, v in self.options]
        return " ".join([self.solver, self.dtype, *["dense"] * self.densify, *extra])


@dataclass
class Fitted:
    """Weights (d, outputs) and intercepts; stopped: the solver ended before its effort was used up."""

    W: np.ndarray
    b: np.ndarray
    stopped: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class Rival:
    name: str
    module: str
    package: str

    def missing(self) -> bool:
        return importlib.util.find_spec(self.module.split(".")[0]) is None

    def version(self) -> str:
        return importlib.metadata.version(self.package)

    def start(self) -> None:
        """Imports the library; timed apart."""
        __import__(self.module)

    def settings(self, facts: Facts) -> list[Setting]:
        raise NotImplementedError

    def refusal(self, facts: Facts) -> str:
        """Why `settings` is empty."""
        return "no setting fits this problem"

    def prepare(self, problem: Problem, setting: Setting) -> tuple[Any, np.ndarray]:
        return formed(problem.X, setting), problem.y

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        raise NotImplementedError


def formed(x: Matrix, setting: Setting) -> Matrix:
    if setting.densify:
        x = x.toarray()
    return x.astype(setting.dtype, copy=False)


def tolerance(effort: int) -> float:
    return 10 ** (-effort / 4)


def level(tol: float) -> int:
    """The effort whose tolerance is tol."""
    return round(-4 * np.log10(tol))


class Luce(Rival):
    name = module = package = "luce"

    def settings(self, facts: Facts) -> list[Setting]:
        return [Setting("luce", facts.dtype, by_tolerance=True, first=level(1e-1))]

    def reference(self, facts: Facts) -> Setting:
        return Setting("luce", "float32" if facts.sparse else "float64", by_tolerance=True)

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        import luce

        x, y = data
        extra = {"l1": penalty.l1 / len(y)} if penalty.l1 else {}
        model = luce.SoftmaxRegression(l2=penalty.l2 / len(y), tol=tolerance(effort), threads=THREADS, **extra)
        model.fit(x, y)
        proof = model.certificate_
        return Fitted(model.coef_.T, model.intercept_, facts={"gap": proof.relative_gap, "passes": proof.passes})


class ScikitLearn(Rival):
    name, module, package = "scikit-learn", "sklearn.linear_model", "scikit-learn"

    def settings(self, facts: Facts) -> list[Setting]:
        found = []
        for densify in facts.layouts:
            if facts.columns * facts.outputs <= LARGEST_HESSIAN:
                found.append(Setting("newton-cholesky", "float64", densify, first=2))
            for solver, first in (("newton-cg", 2), ("lbfgs", 8)):
                found += [Setting(solver, dtype, densify, first=first) for dtype in ("float32", "float64")]
        if facts.outputs == 1:
            found += self.liblinear()
        return [*found, Setting("saga", "float32", first=4)]

    def liblinear(self) -> list[Setting]:
        ways = [(dual, scaling) for dual in (False, True) for scaling in SCALINGS]
        return [
            Setting("liblinear", by_tolerance=True, first=4, options=(("dual", dual), ("intercept_scaling", scaling)))
            for dual, scaling in ways
        ]

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        from sklearn.linear_model import LogisticRegression

        most = MANY if setting.by_tolerance else effort
        tol = tolerance(effort) if setting.by_tolerance else NEVER
        model = LogisticRegression(
            C=1 / penalty.l2, solver=setting.solver, tol=tol, max_iter=most, random_state=0, **dict(setting.options)
        )
        return of_sklearn(model.fit(*data), most if not setting.by_tolerance else 0)


class ScikitLearnL1(ScikitLearn):
    """saga with an L1 penalty, warm-started at `start`, a pair (W, b)."""

    name = "scikit-learn saga, L1"

    def settings(self, facts: Facts) -> list[Setting]:
        return [Setting("saga", dtype, first=2) for dtype in ("float32", "float64")]

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=1 / penalty.l1, l1_ratio=1.0, solver="saga", tol=NEVER, max_iter=effort, random_state=0, warm_start=True
        )
        if start is not None:
            weights, bias = start
            model.coef_, model.intercept_ = weights.T.astype(setting.dtype), bias.astype(setting.dtype)
            model.classes_ = np.unique(data[1])
        return of_sklearn(model.fit(*data), effort)


class Intelex(Rival):
    name, module, package = "scikit-learn-intelex", "sklearnex.linear_model", "scikit-learn-intelex"

    def settings(self, facts: Facts) -> list[Setting]:
        if facts.sparse and not facts.small:
            return []
        return [Setting("lbfgs", dtype, facts.sparse) for dtype in ("float32", "float64")]

    def refusal(self, facts: Facts) -> str:
        return "hands sparse data to scikit-learn"

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        from sklearnex.linear_model import LogisticRegression

        model = LogisticRegression(C=1 / penalty.l2, tol=NEVER, max_iter=effort, n_jobs=THREADS)
        return of_sklearn(model.fit(*data), effort)


def of_sklearn(model: Any, most: int) -> Fitted:
    used = int(np.max(model.n_iter_))
    return Fitted(model.coef_.T, model.intercept_, stopped=used < most, facts={"iterations": used})


class Cyanure(Rival):
    name, module, package = "cyanure", "cyanure.estimators", "cyanure"

    def settings(self, facts: Facts) -> list[Setting]:
        # of its solvers, MISO diverges and SVRG hangs on sparse data of more than two classes
        found = []
        for densify in facts.layouts:
            if facts.outputs == 1 or not facts.sparse or densify:
                found += [Setting("auto", dtype, densify) for dtype in ("float32", "float64")]
                found.append(Setting("auto", "float32", densify, options=(("n_threads", 1),)))
            found += [Setting("qning-ista", dtype, densify) for dtype in ("float32", "float64")]
        return found

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        from cyanure.estimators import Classifier

        x, y = data
        options = {"n_threads": THREADS} | dict(setting.options)
        model = Classifier(
            loss="logistic", penalty="l2", fit_intercept=True, lambda_1=penalty.l2 / len(y), solver=setting.solver,
            max_iter=effort, tol=NEVER, duality_gap_interval=effort + 1, verbose=False, random_state=0, **options,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(x, y)
        weights = np.asarray(model.coef_).reshape(x.shape[1], -1)
        return Fitted(weights, np.asarray(model.intercept_).ravel())


class SnapML(Rival):
    name = module = package = "snapml"

    def settings(self, facts: Facts) -> list[Setting]:
        if facts.outputs > 1:
            return []
        found = [Setting("dual", "float32", options=(("intercept_scaling", s),)) for s in SCALINGS]
        return [*found, Setting("primal", "float32", options=(("intercept_scaling", 1),))]

    def refusal(self, facts: Facts) -> str:
        return "fits one class against the rest, not the softmax"

    def prepare(self, problem: Problem, setting: Setting) -> tuple[Any, np.ndarray]:
        return formed(problem.X, setting), problem.y.astype(np.float32)

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        import snapml

        scaling = float(dict(setting.options)["intercept_scaling"])
        model = snapml.LogisticRegression(
            max_iter=effort, regularizer=penalty.l2, dual=setting.solver == "dual", n_jobs=THREADS, tol=NEVER,
            fit_intercept=True, intercept_scaling=scaling, random_state=0,
        )  # fmt: skip
        model.fit(*data)
        return Fitted(np.asarray(model.coef_).reshape(-1, 1), np.asarray(model.intercept_).ravel() * scaling)


class Skglm(Rival):
    name = module = package = "skglm"

    def settings(self, facts: Facts) -> list[Setting]:
        if facts.outputs > 1:
            return []
        return [Setting(solver, by_tolerance=True, first=4) for solver in ("ProxNewton", "AndersonCD")]

    def refusal(self, facts: Facts) -> str:
        return "two classes only"

    def prepare(self, problem: Problem, setting: Setting) -> tuple[Any, np.ndarray]:
        x = formed(problem.X, setting)
        return sp.csc_matrix(x) if problem.sparse else np.asfortranarray(x), problem.y

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        from skglm import GeneralizedLinearEstimator, solvers
        from skglm.datafits import Logistic
        from skglm.penalties import L1_plus_L2

        solver = getattr(solvers, setting.solver)(max_iter=1000, tol=tolerance(effort), fit_intercept=True)
        ridge = L1_plus_L2(penalty.l2 / len(data[1]), 0.0)
        model = GeneralizedLinearEstimator(Logistic(), ridge, solver).fit(*data)
        return Fitted(np.asarray(model.coef_).reshape(-1, 1), np.atleast_1d(model.intercept_))


class Torch(Rival):
    """L-BFGS on the full batch with a strong Wolfe search; of two stages the second starts, with no memory, where the
    first stalled."""

    name, module, package = "PyTorch", "torch", "torch"

    def start(self) -> None:
        import torch

        torch.set_num_threads(THREADS)

    def settings(self, facts: Facts) -> list[Setting]:
        return [
            Setting("L-BFGS", dtype, densify, options=(("then", then),) if then else ())
            for densify in facts.layouts
            for dtype, then in (("float32", "float32"), ("float32", "float64"), ("float64", ""))
        ]

    def prepare(self, problem: Problem, setting: Setting) -> tuple[Any, np.ndarray]:
        x = formed(problem.X, setting)
        then = dict(setting.options).get("then", setting.dtype)
        stages = [_tensors(x)] if then == setting.dtype else [_tensors(x), _tensors(x.astype(then))]
        repeat = 2 if dict(setting.options).get("then") == setting.dtype else 1
        return stages * repeat, problem.y

    def fit(self, data: tuple[Any, np.ndarray], penalty: Penalty, setting: Setting, effort: int, start: Any) -> Fitted:
        import torch

        stages, y = data
        classes = int(y.max()) + 1
        outputs = 1 if classes == 2 else classes
        point = torch.zeros((stages[0][0].shape[1] + 1, outputs), dtype=torch.float64)
        left = effort
        for x, transposed in stages:
            if left > 0:
                point, used = _lbfgs(x, transposed, torch.from_numpy(y).long(), penalty.l2, point, left)
                left -= used
        numbers = point.numpy()
        return Fitted(numbers[:-1], numbers[-1], stopped=left > 0, facts={"iterations": effort - left})


def _tensors(x: Matrix) -> tuple[Any, Any]:
    """X and its transpose for PyTorch."""
    import torch

    if not sp.issparse(x):
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        return tensor, tensor.T

    def csr(m: sp.csr_matrix) -> torch.Tensor:
        parts = [torch.from_numpy(a.astype(np.int64)) for a in (m.indptr, m.indices)]
        return torch.sparse_csr_tensor(*parts, torch.from_numpy(m.data), size=m.shape)

    return csr(x), csr(sp.csr_matrix(x.T))


def _lbfgs(x: Any, transposed: Any, y: Any, l2: float, start: Any, most: int) -> tuple[Any, int]:
    """The point after at most so many iterations of torch.optim.LBFGS on the mean objective, and how many it took."""
    import torch

    rows, outputs = len(y), start.shape[1]
    point = start.to(x.dtype).requires_grad_()
    target = y[:, None].to(x.dtype) if outputs == 1 else torch.nn.functional.one_hot(y, outputs).to(x.dtype)
    optimiser = torch.optim.LBFGS(
        [point], max_iter=most, max_eval=4 * most + 20, tolerance_grad=0, tolerance_change=0, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    @torch.no_grad()
    def closure() -> torch.Tensor:
        weights = point[:-1]
        z = torch.addmm(point[-1:].expand(rows, -1), x, weights)
        if outputs == 1:
            loss = torch.nn.functional.softplus(z).sum(dtype=torch.float64) - (z * target).sum(dtype=torch.float64)
            residual = torch.sigmoid(z) - target
        else:
            logs = torch.log_softmax(z, 1)
            loss = -logs.gather(1, y[:, None]).sum(dtype=torch.float64)
            residual = logs.exp_() - target
        point.grad = torch.cat([transposed @ residual + l2 * weights, residual.sum(0, keepdim=True)]) / rows
        return (loss + l2 / 2 * (weights * weights).sum(dtype=torch.float64)) / rows

    optimiser.step(closure)
    used = int(optimiser.state[point]["n_iter"])
    return point.detach().double(), used


def quiet() -> None:
    """No warnings of convergence and no notes: the sweep looks at the objective itself."""
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


RIVALS: dict[str, type[Rival]] = {
    kind.name: kind for kind in (Luce, ScikitLearn, ScikitLearnL1, Intelex, Cyanure, SnapML, Skglm, Torch)
}
FITTERS = [name for name in RIVALS if name not in (Luce.name, ScikitLearnL1.name)]
