"""Plots: points of two features, the regions a network assigns to classes, curves of training.

matplotlib is imported when a function is called, not before; it comes with ``pip install "fastnn-numba[plot]"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastnn._array_steps import float_type
from fastnn.arrays import check_positive_int, plain

__all__ = ["curves", "decision_regions", "scatter"]

_COLOURS = "brg"


def _axes(ax: Any) -> Any:
    """Return the axes to draw on: those given, or the current ones."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('plots need matplotlib: install it with pip install "fastnn-numba[plot]"') from error
    return pyplot.gca() if ax is None else ax


def _points(X: Any) -> Any:
    points = plain(X, "X")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"X must have two features to be drawn, shape (samples, 2), got {points.shape}: choose two columns, "
            "for example X[:, :2]"
        )
    return points


def scatter(X: Any, y: Any = None, ax: Any = None) -> Any:
    """Draw samples of two features as points, coloured by class.

    Parameters
    ----------
    X : array_like
        Shape (samples, 2).
    y : array_like, optional
        Class numbers or values, shape (samples,) or (samples, 1).
    ax : matplotlib.axes.Axes, optional
        Where to draw; without it the current axes.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `X` has not two columns, or `y` another length.
    """
    points = _points(X)
    colours = None
    if y is not None:
        colours = np.asarray(y).reshape(-1)
        if len(colours) != len(points):
            raise ValueError(f"y must have one entry for each of the {len(points)} samples, got {len(colours)}")
    ax = _axes(ax)
    ax.scatter(points[:, 0], points[:, 1], c=colours, s=20, cmap=_COLOURS if colours is not None else None)
    return ax


def decision_regions(
    predict: Callable[[Any], Any], X: Any, y: Any = None, ax: Any = None, *, resolution: int = 200, margin: float = 0.1
) -> Any:
    """Colour the plane by the class a network predicts, and draw the samples on it.

    Parameters
    ----------
    predict : callable
        Takes an array of shape (points, 2), float64 if `X` is and else float32, and returns scores or
        probabilities, shape (points, classes): the largest counts; or, of shape (points, 1), probabilities of a yes.
    X, y, ax : as in `scatter`
        The picture shows a little more than the samples.
    resolution : int
        Points along each axis.
    margin : float
        How much more, as a share of the samples' extent.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `X` has not two columns, or `predict` returns something else.
    """
    points = _points(X)
    resolution = check_positive_int(resolution, "resolution", 2)
    # Not in the samples' own dtype: whole numbers have nothing between them.
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    spare = margin * np.maximum(high - low, 1e-9)
    across, up = (np.linspace(low[i] - spare[i], high[i] + spare[i], resolution) for i in range(2))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(float_type(points))
    scores = np.asarray(predict(grid))
    if scores.ndim != 2 or len(scores) != len(grid):
        raise ValueError(f"predict must return shape ({len(grid)}, classes) for {len(grid)} points, got {scores.shape}")
    classes = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5) * 1
    ax = _axes(ax)
    regions = classes.reshape(resolution, resolution)
    ax.pcolormesh(across, up, regions, cmap=_COLOURS, alpha=0.3, shading="nearest")
    scatter(points, y, ax)
    # One scale for both: there may be classes that are never predicted, or that no sample is of.
    for drawn in ax.collections[-2:]:
        drawn.set_clim(0, max(scores.shape[1] - 1, 1))
    return ax


def curves(history: Mapping[str, Sequence[float]], names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw figures of a training run over its epochs.

    Parameters
    ----------
    history : mapping
        Name → one number an epoch, such as what ``Sequential.fit`` returns.
    names : sequence of str, optional
        Which to draw; without it all.
    ax : matplotlib.axes.Axes, optional
        Where to draw; without it the current axes.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a name is not in the history.
    """
    chosen = list(history) if names is None else list(names)
    for name in chosen:
        if name not in history:
            raise ValueError(f"names must be among {', '.join(history)}, got {name!r}: pass one of these")
    ax = _axes(ax)
    for name in chosen:
        ax.plot(np.arange(len(history[name])), history[name], label=name)
    ax.set_xlabel("epoch")
    ax.legend()
    return ax
