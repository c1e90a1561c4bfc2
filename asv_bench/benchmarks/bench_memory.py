"""Peak memory of a process that trains; "nothing" imports the library alone."""

from .bench_training import peer
from .common import needs


class Training:
    params = (["nothing", "digits", "mnist-m", "mnist-l"], ["numpy", "fastnn", "torch"])
    param_names = ["case", "library"]

    def setup_cache(self):
        # In a process of its own: what is measured loads compiled functions and compiles none.
        peer("mnist-m", "fastnn", 1)

    def setup(self, case, library):
        needs(library)

    def peakmem_training(self, case, library):
        if case == "nothing":
            __import__(library)
        else:
            peer(case, library, 1).run(20)
