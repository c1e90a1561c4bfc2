"""Compiled kernels: arrays in, arrays written, ``None`` returned.

Importing this package compiles nothing and does not import Numba; its modules do that.
"""

if __name__ != "fastnn.kernels":
    raise ImportError(
        f"this package was imported as {__name__!r}, but a top-level 'kernels' collides with another "
        "distribution of that name: write 'import fastnn.kernels' instead"
    )
