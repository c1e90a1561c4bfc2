"""How long a process takes to begin: each run is a new interpreter, its own start not counted."""

from .common import needs

_FIT = """
import fastnn as fnn
X, y = fnn.datasets.spiral_data(100, 3, seed=0)
model = fnn.Sequential(fnn.Dense(2, 64), fnn.ReLU(), fnn.Dense(64, 3), seed=0)
model.fit(X, y, optimizer=fnn.SGD(1.0, momentum=0.9), epochs={epochs}, batch_size=None, shuffle=False)
"""


class Import:
    number, repeat = 1, 5

    def timeraw_numba(self):
        return "import numba"

    def timeraw_fastnn(self):
        return "import fastnn"


class ImportPeer:
    """What a process pays for other libraries before anything is trained; beside `FirstFit`."""

    number, repeat = 1, 5
    params = (["torch", "jax.numpy"],)
    param_names = ["library"]

    def setup(self, library):
        needs(library.partition(".")[0])

    def timeraw_import(self, library):
        return f"import {library}"


class FirstFit:
    """A process that imports fastnn and trains the spiral network, its compiled functions in the cache."""

    number, repeat = 1, 5
    params = ([1, 10_001],)
    param_names = ["epochs"]

    def setup(self, epochs):
        exec(_FIT.format(epochs=1), {})

    def timeraw_spiral(self, epochs):
        return _FIT.format(epochs=epochs)
