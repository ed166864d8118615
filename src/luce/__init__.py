"""luce: softmax classifiers whose fit is proven and whose probabilities can be trusted."""

from luce import metrics
from luce.audit import audit
from luce.calibration import Calibration, calibrate
from luce.classifier import Classifier, load
from luce.doctor import Findings, examine
from luce.engine import processes
from luce.errors import (
    EngineError,
    FileError,
    InputError,
    LimitError,
    LuceError,
    LuceWarning,
    ModelFileError,
    NotFittedError,
)
from luce.functional import (
    cross_entropy,
    cross_entropy_with_gradient,
    log_sigmoid,
    log_softmax,
    logsumexp,
    one_hot,
    show_config,
    sigmoid,
    softmax,
    softmax_jvp,
    softmax_vjp,
    top_k,
)
from luce.linear import SoftmaxRegression
from luce.network import NetworkClassifier
from luce.page import write_report
from luce.prediction import predict_file, predict_files
from luce.ray_engine import ray
from luce.reader import read_file
from luce.trial import train

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "Classifier",
    "EngineError",
    "FileError",
    "Findings",
    "InputError",
    "LimitError",
    "LuceError",
    "LuceWarning",
    "ModelFileError",
    "NetworkClassifier",
    "NotFittedError",
    "SoftmaxRegression",
    "audit",
    "calibrate",
    "cross_entropy",
    "cross_entropy_with_gradient",
    "examine",
    "load",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "metrics",
    "one_hot",
    "predict_file",
    "predict_files",
    "processes",
    "ray",
    "read_file",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_jvp",
    "softmax_vjp",
    "top_k",
    "train",
    "write_report",
]
