"""fastnn: dense neural networks trained on the CPU, through compiled kernels, from plain Python.

>>> import fastnn as fnn
>>> X, y = fnn.datasets.spiral_data(samples=100, classes=3, seed=0)
>>> model = fnn.Sequential(fnn.Dense(2, 64), fnn.ReLU(), fnn.Dense(64, 3), seed=0)
>>> history = model.fit(X, y, optimizer=fnn.Adam(0.02), epochs=100, batch_size=None)
>>> model.predict(X).shape
(300, 3)
"""

from fastnn._layout import locate_kernels

locate_kernels()

from fastnn import callbacks, datasets, initializers, metrics, schedules  # noqa: E402
from fastnn._warmup import warmup  # noqa: E402
from fastnn.activations import Linear, ReLU, Sigmoid, Softmax, Tanh  # noqa: E402
from fastnn.base import Layer  # noqa: E402
from fastnn.callbacks import Callback, EarlyStopping  # noqa: E402
from fastnn.history import DivergenceWarning, History  # noqa: E402
from fastnn.layers import Dense, Dropout  # noqa: E402
from fastnn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy  # noqa: E402
from fastnn.many import fit_many  # noqa: E402
from fastnn.model import Sequential, load  # noqa: E402
from fastnn.optimizers import SGD, AdaGrad, Adam, AdamW, Lion, Optimizer, RMSprop  # noqa: E402
from fastnn.schedules import (  # noqa: E402
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
)
from fastnn.search import SearchResult, random_search  # noqa: E402
from fastnn.threads import get_num_threads, set_num_threads  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "AdaGrad",
    "Adam",
    "AdamW",
    "Callback",
    "CosineDecay",
    "Dense",
    "DivergenceWarning",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "History",
    "InverseTimeDecay",
    "Layer",
    "Linear",
    "Lion",
    "Loss",
    "MeanSquaredError",
    "OneCycle",
    "Optimizer",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "SGD",
    "Schedule",
    "SearchResult",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "StepDecay",
    "Tanh",
    "Warmup",
    "callbacks",
    "datasets",
    "fit_many",
    "get_num_threads",
    "initializers",
    "load",
    "metrics",
    "random_search",
    "schedules",
    "set_num_threads",
    "warmup",
]
