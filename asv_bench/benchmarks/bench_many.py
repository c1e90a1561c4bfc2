"""Sixty-four networks at once: `fit_many` beside one network after the other, and beside JAX's `vmap`."""

import statistics

from .common import keep_to_cores, needs

# Steps of a run, whole epochs: a few hundredths of a second for `fit_many`.
STEPS = {"spiral-adam": 100, "digits": 40}
# Long enough that what is done once for each network is no part to speak of.
LONG = {"spiral-adam": 2000, "digits": 200}


def way(name, case, threads, steps=STEPS):
    """Return one way of training the networks, after a first run of the length that is measured."""
    keep_to_cores(threads)
    import peer_many
    import peer_steps

    made = peer_many.WAYS[name](peer_steps.CASES[case], threads, False)
    made.run(steps[case])
    return made


class Networks:
    """2-64-3 on 300 rows and 64-100-10 on batches of 200, Adam, on two threads."""

    params = (list(STEPS), ["one by one", "fit_many", "jax"])
    param_names = ["case", "way"]

    def setup(self, case, name):
        if name == "jax":
            needs("jax")
        self.way = way(name, case, 2)
        from peer_many import NETWORKS

        self.networks = NETWORKS

    def track_step(self, case, name):
        seconds = min(self.way.run(STEPS[case])[0] for _ in range(3))
        return 1e6 * seconds / (STEPS[case] * self.networks)

    track_step.unit = "µs a network and step"


class Throughput:
    """Networks a second by `fit_many` on two threads, over those by `fit` after `fit` on one."""

    params = (list(STEPS),)
    param_names = ["case"]

    def setup(self, case):
        self.together, self.apart = way("fit_many", case, 2, LONG), way("one by one", case, 2, LONG)
        self.apart.threads = 1

    def track_ratio(self, case):
        # One after the other, so that a machine whose speed drifts slows both.
        ratios = [self.apart.run(LONG[case])[0] / self.together.run(LONG[case])[0] for _ in range(3)]
        return statistics.median(ratios)

    track_ratio.unit = "times"
