"""Whole networks for `registry`, called as users call them; the bounds are carried from layer to layer."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import reference
from registry_base import ULP, gamma, space

import fastnn as fnn

LEARNING_RATE = 0.05


@dataclass(frozen=True)
class OneHidden:
    """One hidden layer; `shape` is (rows, inputs, hidden units, classes)."""

    activation: str

    def build(self, shape, dtype, random):
        m, k, h, n = shape
        draw = lambda scale, *s: (scale * random.normal(size=s)).astype(dtype)  # noqa: E731
        return space(
            x=draw(1, m, k), y=random.integers(0, n, m), w1=draw(k**-0.5, k, h), b1=draw(0.1, h),
            w2=draw(h**-0.5, h, n), b2=draw(0.1, n),
        )  # fmt: skip

    def model(self, args):
        kind = {"relu": fnn.ReLU, "tanh": fnn.Tanh}[self.activation]
        first, last = fnn.Dense(*args.w1.shape), fnn.Dense(*args.w2.shape)
        first.weights, first.biases, last.weights, last.biases = args.w1, args.b1, args.w2, args.b2
        model = fnn.Sequential(first, kind(), last, seed=0)
        return model

    def network(self, args):
        return reference.Network([(args.w1, args.b1), (args.w2, args.b2)], self.activation)

    def ours_predict(self, args):
        return (self.model(args).predict(args.x, n_threads=1),)

    def twin_predict(self, args):
        return (self.network(args).forward(args.x),)

    def bound_predict(self, args, u):
        return (self.errors(args, u).z,)

    def ours_evaluate(self, args):
        figures = self.model(args).evaluate(args.x, args.y, n_threads=1)
        return (np.array(figures["loss"]), np.array(figures["accuracy"]))

    def twin_evaluate(self, args):
        loss, accuracy, _ = self.network(args).loss_and_gradients(args.x, args.y)
        return np.array(loss), np.array(accuracy)

    def bound_evaluate(self, args, u):
        e = self.errors(args, u)
        return e.loss, e.accuracy

    def ours_train(self, args):
        model = self.model(args)
        history = model.fit(
            args.x, args.y, optimizer=fnn.SGD(LEARNING_RATE), epochs=1, batch_size=None, shuffle=False,
            progress=False, n_threads=1,
        )  # fmt: skip
        return np.array(history["loss"][0]), *model.parameters().values()

    def twin_train(self, args):
        network = self.network(args)
        loss, _, _ = network.step(args.x, args.y, "sgd", 0, LEARNING_RATE)
        pairs = zip(network.weights, network.biases, strict=True)
        return np.array(loss), *(array for pair in pairs for array in pair)

    def bound_train(self, args, u):
        e = self.errors(args, u)
        parameters = (args.w1, args.b1, args.w2, args.b2)
        pairs = zip(parameters, e.gradients, e.gradient_errors, strict=True)
        return e.loss, *(LEARNING_RATE * (d + 3 * u * np.abs(g)) + 2 * u * np.abs(p) for p, g, d in pairs)

    def ours_many(self, args):
        models = [self.model(args) for _ in range(2)]
        histories = fnn.fit_many(
            models, args.x, args.y, optimizer=fnn.SGD(LEARNING_RATE), epochs=1, batch_size=None, shuffle=False,
            n_threads=1,
        )  # fmt: skip
        results = [
            part
            for model, history in zip(models, histories, strict=True)
            for part in (np.array(history["loss"][0]), *model.parameters().values())
        ]
        return tuple(results)

    def twin_many(self, args):
        return 2 * self.twin_train(args)

    def bound_many(self, args, u):
        return 2 * self.bound_train(args, u)

    def errors(self, args, u):
        """Bounds of the outputs, the loss, the accuracy and the gradients of one pass.

        Terms of second order in u are covered by a hundredth.
        """
        size = np.abs
        (m, k), (h, n) = args.x.shape, args.w2.shape
        network = self.network(args)
        a2 = network.forward(args.x)
        a1 = network.made[0]
        z1 = reference.dense(args.x, args.w1, args.b1)
        e_z1 = gamma(k + 1, u) * (size(args.x) @ size(args.w1) + size(args.b1))
        e_a1 = e_z1 + 2 * ULP.get(self.activation, 0) * u * size(a1)
        e_z2 = e_a1 @ size(args.w2) + gamma(h + 1, u) * (size(a1) @ size(args.w2) + size(args.b2))
        # A softmax changes by at most twice the largest change of a logit, relative to itself.
        p, q = reference.softmax(a2), reference.one_hot(args.y, n)
        reach = (a2.max(axis=1) - a2.min(axis=1))[:, None]
        own = gamma(n + 10, u) * (1 + 3 * reach + np.log(n))
        shift = 2 * e_z2.max(axis=1, keepdims=True)
        dz = (p - q) / m
        e_dz = ((shift + own) * p + 3 * u * q) / m
        dw2, db2, da1 = reference.dense_backward(a1, args.w2, dz)
        sizes = reference.dense_backward(size(a1), size(args.w2), size(dz))
        e_dw2 = e_a1.T @ size(dz) + size(a1).T @ e_dz + gamma(m, u) * sizes[0]
        e_db2 = e_dz.sum(axis=0) + gamma(m, u) * sizes[1]
        e_da1 = e_dz @ size(args.w2).T + gamma(n, u) * sizes[2]
        d1 = reference.ACTIVATIONS[self.activation][1](da1, a1)
        if self.activation == "relu":
            # Where the sign of z1 is in doubt, the whole of the gradient is.
            e_d1 = e_da1 + size(da1) * (size(z1) <= e_z1)
        else:
            e_d1 = e_da1 + 2 * size(da1) * size(a1) * e_a1 + gamma(4, u) * size(da1) * (1 + a1**2)
        dw1, db1, _ = reference.dense_backward(args.x, args.w1, d1)
        sizes = reference.dense_backward(size(args.x), size(args.w1), size(d1))
        e_dw1 = size(args.x).T @ e_d1 + gamma(m, u) * sizes[0]
        e_db1 = e_d1.sum(axis=0) + gamma(m, u) * sizes[1]
        top = np.sort(a2, axis=1)
        doubt = np.count_nonzero(top[:, -1] - top[:, -2] <= shift[:, 0]) if n > 1 else 0
        more = 1.01
        return SimpleNamespace(
            z=more * e_z2,
            loss=more * (shift + own).mean() + 2.0**-52,
            accuracy=np.array(doubt / m + 2.0**-52),
            gradients=(dw1, db1, dw2, db2),
            gradient_errors=tuple(more * e for e in (e_dw1, e_db1, e_dw2, e_db2)),
        )


def networks(size):
    s = max(size, 1)
    return [(s, 5, 17, 3), (7, s, 6, 2), (5, 3, s, 4), (4, 3, 6, max(size, 2))]


def narrow_networks(size):
    s = max(size, 1)
    return [(s, 2, 64, 3), (50, 2, s, 3), (33, 1, 16, 2)]
