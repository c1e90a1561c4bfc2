"""Optimisers: how gradients change parameters.

An optimiser gives the compiled loop its numbers (`Optimizer.kind`, `Optimizer.scalars`, `Optimizer.slots`),
and works alone on layers, one step a call (`Optimizer.update`). Both ways run the same kernel on the same
numbers. The formulas are in ``fastnn.kernels.optim``. Every class has the same parts in the same order:
making it, which kernel it is, and its scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fastnn._optimizer import LearningRate, Optimizer
from fastnn._schedule import powers
from fastnn.arrays import check_flag, check_fraction, check_number
from fastnn.kernels import optim

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop"]

Rates = npt.NDArray[np.float64]


def _epsilon(value: object) -> float:
    # Zero would divide zero by zero wherever a gradient has always been zero.
    return check_number(value, "epsilon", open_low=True)


@final
class SGD(Optimizer):
    """Gradient descent, ``w -= lr * g``; with momentum ``u = momentum * u - lr * g; w += u``.

    The learning rate is inside the velocity (PyTorch has it outside: equal only while it is constant).

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0.
    momentum : float
        In [0, 1).
    nesterov : bool
        Look ahead, ``w += momentum * u - lr * g``; needs momentum.

    Examples
    --------
    >>> from fastnn.layers import Dense
    >>> from fastnn.optimizers import SGD
    >>> dense, sgd = Dense(1, 1), SGD(learning_rate=0.5)
    >>> dense.weights = [[1.0]]
    >>> _ = dense.forward([[2.0]]), dense.backward([[0.25]])
    >>> sgd.update(dense)
    >>> dense.weights, sgd.step
    (array([[0.75]]), 1)
    """

    def __init__(self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(learning_rate)
        self.momentum = check_fraction(momentum, "momentum")
        self.nesterov = check_flag(nesterov, "nesterov")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum, got momentum=0: pass momentum=0.9, say")

    @property
    def kind(self) -> int:
        """The kernel's number for plain, momentum or Nesterov descent."""
        if not self.momentum:
            return optim.SGD
        return optim.NESTEROV if self.nesterov else optim.MOMENTUM

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        return rates, self.momentum


@final
class AdaGrad(Optimizer):
    """``c += g**2; w -= lr * g / (sqrt(c) + epsilon)``.

    Duchi et al., "Adaptive subgradient methods", 2011. The cache starts at 0.

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0.
    epsilon : float
        Greater than 0.
    epsilon_inside : bool
        Divide by ``sqrt(c + epsilon)`` instead.
    """

    def __init__(self, learning_rate: LearningRate = 0.01, epsilon: float = 1e-7, epsilon_inside: bool = False) -> None:
        super().__init__(learning_rate)
        self.epsilon = _epsilon(epsilon)
        self.epsilon_inside = check_flag(epsilon_inside, "epsilon_inside")

    @property
    def kind(self) -> int:
        """The kernel's number for either place of epsilon."""
        return optim.ADAGRAD_INSIDE if self.epsilon_inside else optim.ADAGRAD

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        return rates, self.epsilon


@final
class RMSprop(Optimizer):
    """``c = rho * c + (1 - rho) * g**2; w -= lr * g / (sqrt(c) + epsilon)``.

    Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012. The cache starts at 0.

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0.
    rho : float
        In [0, 1).
    epsilon : float
        Greater than 0.
    epsilon_inside : bool
        Divide by ``sqrt(c + epsilon)`` instead.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        epsilon_inside: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.rho = check_fraction(rho, "rho")
        self.epsilon = _epsilon(epsilon)
        self.epsilon_inside = check_flag(epsilon_inside, "epsilon_inside")

    @property
    def kind(self) -> int:
        """The kernel's number for either place of epsilon."""
        return optim.RMSPROP_INSIDE if self.epsilon_inside else optim.RMSPROP

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        return rates, self.rho, 1.0 - self.rho, self.epsilon


def _adam_columns(
    rates: Rates, first_step: int, beta_1: float, beta_2: float, epsilon: float, keep: Any = 0.0
) -> Sequence[Any]:
    """Return the scalars of Adam and its kin: both bias corrections are inside."""
    corrected = rates / (1.0 - powers(beta_1, first_step + 1, len(rates)))
    root = 1.0 / (1.0 - powers(beta_2, first_step + 1, len(rates)))
    return corrected, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, root, epsilon, keep


@final
class Adam(Optimizer):
    """``m = b1 * m + (1 - b1) * g; v = b2 * v + (1 - b2) * g**2; w -= lr * m' / (sqrt(v') + epsilon)``.

    ``m'`` and ``v'`` are m and v divided by ``1 - beta ** (step + 1)``. Kingma and Ba, "Adam", 2015; Reddi et
    al., "On the convergence of Adam and beyond", 2018, for `amsgrad`.

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0.
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        Greater than 0.
    amsgrad : bool
        Use the largest v so far in place of v.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = check_fraction(beta_1, "beta_1")
        self.beta_2 = check_fraction(beta_2, "beta_2")
        self.epsilon = _epsilon(epsilon)
        self.amsgrad = check_flag(amsgrad, "amsgrad")

    @property
    def kind(self) -> int:
        """The kernel's number, with the running maximum or without."""
        return optim.AMSGRAD if self.amsgrad else optim.ADAM

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        return _adam_columns(rates, first_step, self.beta_1, self.beta_2, self.epsilon)


@final
class AdamW(Optimizer):
    """Adam with decoupled weight decay: ``w *= 1 - lr * weight_decay`` before Adam's step.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019. Biases decay like weights.

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0.
    beta_1, beta_2 : float
        In [0, 1).
    epsilon : float
        Greater than 0.
    weight_decay : float
        At least 0.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = check_fraction(beta_1, "beta_1")
        self.beta_2 = check_fraction(beta_2, "beta_2")
        self.epsilon = _epsilon(epsilon)
        self.weight_decay = check_number(weight_decay, "weight_decay")

    @property
    def kind(self) -> int:
        """The kernel's number."""
        return optim.ADAMW

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        keep = 1.0 - rates * self.weight_decay
        return _adam_columns(rates, first_step, self.beta_1, self.beta_2, self.epsilon, keep)


@final
class Lion(Optimizer):
    """``w = (1 - lr * weight_decay) * w - lr * sign(b1 * m + (1 - b1) * g); m = b2 * m + (1 - b2) * g``.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023. The sign of 0 is 0.

    Parameters
    ----------
    learning_rate : float or schedule
        At least 0; three to ten times smaller than Adam's.
    beta_1, beta_2 : float
        In [0, 1).
    weight_decay : float
        At least 0.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = check_fraction(beta_1, "beta_1")
        self.beta_2 = check_fraction(beta_2, "beta_2")
        self.weight_decay = check_number(weight_decay, "weight_decay")

    @property
    def kind(self) -> int:
        """The kernel's number."""
        return optim.LION

    def _columns(self, rates: Rates, first_step: int) -> Sequence[Any]:
        keep = 1.0 - rates * self.weight_decay
        return rates, self.beta_1, 1.0 - self.beta_1, self.beta_2, 1.0 - self.beta_2, keep
