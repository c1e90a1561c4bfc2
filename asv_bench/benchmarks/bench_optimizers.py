"""One update of all parameters, on one thread."""

from .common import LIBRARIES, prepared


class Update:
    params = (["momentum", "adam"], [100_000, 10_000_000], LIBRARIES)
    param_names = ["optimizer", "parameters", "library"]

    def setup(self, optimizer, parameters, library):
        self.run = prepared(f"optim.update[{optimizer}]", (parameters,), library)

    def time_update(self, optimizer, parameters, library):
        self.run()
