"""The book's optimisers. Their state lives on the layers, as in the book, and is changed in place.

An optimiser says which kernel it is, which arrays it keeps and the kernel's numbers for a range of steps; a step on
one layer and the compiled loop of `Model.train` use the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn._schedule import powers
from fastnn.arrays import check_number
from fastnn.kernels import optim
from fastnn.nnfs._optimizer import BOTH, CACHE, MOMENTUMS, NONE, Optimizer

__all__ = [
    "Optimiser_Adagrad",
    "Optimiser_Adam",
    "Optimiser_RMSprop",
    "Optimiser_SGD",
    "Optimizer_Adagrad",
    "Optimizer_Adam",
    "Optimizer_RMSprop",
    "Optimizer_SGD",
]

_AHEAD = 1024


class Optimizer_SGD(Optimizer):
    """Gradient descent, ``w += -lr * g``; with momentum ``m = momentum * m - lr * g; w += m``.

    Parameters
    ----------
    learning_rate, decay, momentum : float
        At least 0. The rate of a step is ``learning_rate / (1 + decay * iterations)``.

    Attributes
    ----------
    current_learning_rate : float
        The rate of the present step.
    iterations : int
        Steps done.

    Examples
    --------
    >>> from fastnn.nnfs import Optimizer_SGD
    >>> sgd = Optimizer_SGD(decay=0.1)
    >>> sgd.post_update_params()
    >>> sgd.pre_update_params()
    >>> sgd.current_learning_rate
    0.9090909090909091
    """

    def __init__(self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0) -> None:
        super().__init__(learning_rate, decay)
        check_number(momentum, "momentum")
        self.momentum: Any = momentum

    @property
    def slots(self) -> tuple[str, ...]:
        """``("momentums",)``, or nothing without momentum."""
        return MOMENTUMS if self.momentum else NONE

    def step_kind(self) -> int:
        """Return the kernel's number, with momentum or without."""
        return optim.MOMENTUM if self.momentum else optim.SGD

    def _key(self) -> tuple[Any, ...]:
        return self.current_learning_rate, self.momentum

    def _fill(self) -> None:
        # Written out: with decay the numbers change every step, and this is what readers begin with.
        row = self._row
        if row is None:
            super()._fill()
        else:
            row[0], row[1] = self.current_learning_rate, self.momentum
            self._slots = MOMENTUMS if self.momentum else NONE
            self._kind = optim.MOMENTUM if self.momentum else optim.SGD

    def columns(self, rates: Any, first: int, count: int) -> Sequence[Any]:
        """Return rate and momentum."""
        return rates, self.momentum

    def _change(self, layer: Any, name: str, grad: Any) -> Any:
        if not self.momentum:
            return -self.current_learning_rate * grad
        momentums = self.momentum * getattr(layer, f"{name}_momentums") - self.current_learning_rate * grad
        setattr(layer, f"{name}_momentums", momentums)
        return momentums


class Optimizer_Adagrad(Optimizer):
    """``c += g**2; w += -lr * g / (sqrt(c) + epsilon)``, the cache c from 0.

    Parameters
    ----------
    learning_rate, decay, epsilon : float
        At least 0.

    Examples
    --------
    >>> from fastnn.nnfs import Optimizer_Adagrad
    >>> Optimizer_Adagrad(decay=1e-4).epsilon
    1e-07
    """

    kind = optim.ADAGRAD

    def __init__(self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7) -> None:
        super().__init__(learning_rate, decay)
        check_number(epsilon, "epsilon")
        self.epsilon: Any = epsilon

    @property
    def slots(self) -> tuple[str, ...]:
        """``("cache",)``."""
        return CACHE

    def _key(self) -> tuple[Any, ...]:
        return self.current_learning_rate, self.epsilon

    def columns(self, rates: Any, first: int, count: int) -> Sequence[Any]:
        """Return rate and epsilon."""
        return rates, self.epsilon

    def _change(self, layer: Any, name: str, grad: Any) -> Any:
        cache = getattr(layer, f"{name}_cache") + grad**2
        setattr(layer, f"{name}_cache", cache)
        return -self.current_learning_rate * grad / (np.sqrt(cache) + self.epsilon)


class Optimizer_RMSprop(Optimizer):
    """``c = rho * c + (1 - rho) * g**2; w += -lr * g / (sqrt(c) + epsilon)``, the cache c from 0.

    Parameters
    ----------
    learning_rate, decay, epsilon : float
        At least 0.
    rho : float
        In [0, 1].

    Examples
    --------
    >>> from fastnn.nnfs import Optimizer_RMSprop
    >>> Optimizer_RMSprop(learning_rate=0.02, decay=1e-5, rho=0.999).rho
    0.999
    """

    kind = optim.RMSPROP

    def __init__(
        self, learning_rate: float = 0.001, decay: float = 0.0, epsilon: float = 1e-7, rho: float = 0.9
    ) -> None:
        super().__init__(learning_rate, decay)
        check_number(epsilon, "epsilon")
        check_number(rho, "rho", 0.0, 1.0)
        self.epsilon: Any = epsilon
        self.rho: Any = rho

    @property
    def slots(self) -> tuple[str, ...]:
        """``("cache",)``."""
        return CACHE

    def _key(self) -> tuple[Any, ...]:
        return self.current_learning_rate, self.rho, self.epsilon

    def columns(self, rates: Any, first: int, count: int) -> Sequence[Any]:
        """Return rate, rho, what is left of 1, and epsilon."""
        return rates, self.rho, 1 - self.rho, self.epsilon

    def _change(self, layer: Any, name: str, grad: Any) -> Any:
        cache = self.rho * getattr(layer, f"{name}_cache") + (1 - self.rho) * grad**2
        setattr(layer, f"{name}_cache", cache)
        return -self.current_learning_rate * grad / (np.sqrt(cache) + self.epsilon)


class Optimizer_Adam(Optimizer):
    """``m = b1 * m + (1 - b1) * g; c = b2 * c + (1 - b2) * g**2; w += -lr * m' / (sqrt(c') + epsilon)``.

    ``m'`` and ``c'`` are m and c divided by ``1 - beta ** (iterations + 1)``.

    Parameters
    ----------
    learning_rate, decay, epsilon : float
        At least 0.
    beta_1, beta_2 : float
        In [0, 1).

    Examples
    --------
    >>> from fastnn.nnfs import Optimizer_Adam
    >>> Optimizer_Adam(learning_rate=0.05, decay=5e-7).beta_2
    0.999
    """

    kind = optim.ADAM
    _powers: tuple[Any, ...] | None = None

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, decay)
        check_number(epsilon, "epsilon")
        check_number(beta_1, "beta_1", 0.0, 1.0, open_high=True)
        check_number(beta_2, "beta_2", 0.0, 1.0, open_high=True)
        self.epsilon: Any = epsilon
        self.beta_1: Any = beta_1
        self.beta_2: Any = beta_2

    @property
    def slots(self) -> tuple[str, ...]:
        """``("momentums", "cache")``."""
        return BOTH

    def _key(self) -> tuple[Any, ...]:
        return self.current_learning_rate, self.iterations, self.beta_1, self.beta_2, self.epsilon

    def columns(self, rates: Any, first: int, count: int) -> Sequence[Any]:
        """Return rate, betas and epsilon with both bias corrections inside."""
        if count == 1:
            # Powers are made in blocks: one by one they would cost more than a small layer's step.
            known = self._powers
            if known is None or known[:2] != (self.beta_1, self.beta_2) or not known[2] <= first < known[2] + _AHEAD:
                known = (
                    self.beta_1, self.beta_2, first,
                    powers(self.beta_1, first + 1, _AHEAD).tolist(), powers(self.beta_2, first + 1, _AHEAD).tolist(),
                )  # fmt: skip
                self._powers = known
            first_power, second_power = known[3][first - known[2]], known[4][first - known[2]]
        else:
            first_power, second_power = powers(self.beta_1, first + 1, count), powers(self.beta_2, first + 1, count)
        corrected, root = rates / (1.0 - first_power), 1.0 / (1.0 - second_power)
        return corrected, self.beta_1, 1.0 - self.beta_1, self.beta_2, 1.0 - self.beta_2, root, self.epsilon

    def _change(self, layer: Any, name: str, grad: Any) -> Any:
        m = self.beta_1 * getattr(layer, f"{name}_momentums") + (1 - self.beta_1) * grad
        c = self.beta_2 * getattr(layer, f"{name}_cache") + (1 - self.beta_2) * grad**2
        setattr(layer, f"{name}_momentums", m)
        setattr(layer, f"{name}_cache", c)
        step = self.iterations + 1
        corrected, root = m / (1 - self.beta_1**step), np.sqrt(c / (1 - self.beta_2**step))
        return -self.current_learning_rate * corrected / (root + self.epsilon)


Optimiser_SGD = Optimizer_SGD
Optimiser_Adagrad = Optimizer_Adagrad
Optimiser_RMSprop = Optimizer_RMSprop
Optimiser_Adam = Optimizer_Adam
