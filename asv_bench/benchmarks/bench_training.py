"""Training and prediction of whole networks."""

import os

import numpy as np

from .common import LIBRARIES, limit_threads, needs

# The cases that `peers.py` measures beside other libraries, with steps that take NumPy about 50 ms.
STEPS = {
    "spiral-sgd": 200,
    "spiral-adam": 200,
    "digits": 100,
    "mnist-s": 50,
    "mnist-m": 10,
    "mnist-l": 10,
    "higgs": 10,
}


def peer(case, library, threads):
    """Return a peer that has trained a few steps, with so many threads."""
    if threads > (os.cpu_count() or 1):
        raise NotImplementedError("there are not so many cores")
    limit_threads(threads)
    import peer_steps

    made = peer_steps.PEERS[library][0](peer_steps.CASES[case], threads, False)
    made.run(10)
    return made


class TrainingSteps:
    """A number of steps, see `STEPS`, on batches that lie ready."""

    params = (list(STEPS), LIBRARIES, [1, 2])
    param_names = ["case", "library", "threads"]

    def setup(self, case, library, threads):
        self.peer = peer(case, library, threads)

    def time_steps(self, case, library, threads):
        self.peer.run(STEPS[case])


class Images:
    """Fifty shuffled batches through 784-128-128-10, half of the inputs zero in runs, as images have them."""

    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        limit_threads(2)
        import fastnn as fnn
        from fastnn import _numpy_loop as plain

        random = np.random.default_rng(0)
        X, y = random.normal(size=(6400, 784)).astype(np.float32), random.integers(0, 10, 6400)
        kinds = np.repeat(random.random((10, 98)) < 0.5, 8, axis=1)
        X[kinds[y]] = 0.0
        layers = fnn.Dense(784, 128), fnn.ReLU(), fnn.Dense(128, 128), fnn.ReLU(), fnn.Dense(128, 10)
        model, optimizer = fnn.Sequential(*layers, seed=0), fnn.Adam()
        if library == "fastnn":
            self.run = lambda: model.fit(X, y, optimizer=optimizer, epochs=1, batch_size=128, progress=False)
            self.run()
            return
        network = plain.Network([np.array(layer.weights, np.float32) for layer in layers[::2]], plain.Adam(0.001))
        order = random.permutation(6400).reshape(50, 128)
        self.run = lambda: network.train((X[rows], y[rows]) for rows in order)

    def time_epoch(self, library):
        self.run()


class EachEpoch:
    """A hundred epochs with Python in between: a callback after each, or a call of `fit` for each.

    The spiral network takes full batches, a step an epoch; 64-100-10 takes nine batches of 200.
    """

    params = (["spiral", "64-100-10"], ["neither", "callback", "fit"])
    param_names = ["network", "between"]

    def setup(self, network, between):
        limit_threads(2)
        import fastnn as fnn

        random = np.random.default_rng(0)
        (n_in, hidden, n_out), rows, batch = {
            "spiral": ((2, 64, 3), 300, None), "64-100-10": ((64, 100, 10), 1800, 200)
        }[network]  # fmt: skip
        X, y = random.standard_normal((rows, n_in), np.float32), random.integers(0, n_out, rows)
        model = fnn.Sequential(fnn.Dense(n_in, hidden), fnn.ReLU(), fnn.Dense(hidden, n_out), seed=0)
        optimizer, callbacks = fnn.Adam(), [fnn.Callback()] if between == "callback" else []
        calls, epochs = (100, 1) if between == "fit" else (1, 100)

        def run():
            for _ in range(calls):
                model.fit(
                    X, y, optimizer=optimizer, epochs=epochs, batch_size=batch, callbacks=callbacks, progress=False
                )

        self.run = run
        self.run()

    def time_100_epochs(self, network, between):
        self.run()


class Sure:
    """Fifty steps of 64-100-10 as it begins, or so sure of its samples that its gradients are no normal numbers."""

    params = ([False, True],)
    param_names = ["sure"]

    def setup(self, sure):
        limit_threads(1)
        import fastnn as fnn

        X, y = np.random.default_rng(0).standard_normal((2000, 64), np.float32), np.zeros(2000, np.int64)
        model = fnn.Sequential(fnn.Dense(64, 100), fnn.ReLU(), fnn.Dense(100, 10), seed=0)
        # Of float32, exp(-95) is between zero and the least normal number.
        model.layers[-1].biases[..., 0] = 95.0 if sure else 0.0
        self.run = lambda: model.fit(
            X, y, optimizer=fnn.SGD(0.0), epochs=5, batch_size=200, shuffle=False, progress=False, n_threads=1
        )
        self.run()

    def time_50_steps(self, sure):
        self.run()


class LayerByLayer:
    """A hundred steps of the spiral network, nine calls a step: training as notes on networks write it."""

    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        limit_threads(1)
        if library == "numpy":
            self.run = peer("spiral-sgd", library, 1).run
            return
        import fastnn as fnn

        X, y = fnn.datasets.spiral_data(100, 3, seed=0, dtype=np.float32)
        first, relu, last = fnn.Dense(2, 64, seed=0), fnn.ReLU(), fnn.Dense(64, 3, seed=1)
        loss, optimizer = fnn.SoftmaxCrossEntropy(), fnn.SGD(0.1, momentum=0.9)

        def run(steps):
            for _ in range(steps):
                relu.forward(first.forward(X))
                last.forward(relu.output)
                loss.forward(last.output, y)
                last.backward(loss.backward())
                relu.backward(last.dinputs)
                first.backward(relu.dinputs)
                optimizer.update(first, last)

        run(2)
        self.run = run

    def time_100_steps(self, library):
        self.run(100)


class Predict:
    """784-128-10, called from Python, on two threads where there are two."""

    params = ([1, 10_000], [*LIBRARIES, "torch", "onnxruntime"])
    param_names = ["rows", "library"]

    def setup(self, rows, library):
        needs(library)
        threads = min(2, os.cpu_count() or 1)
        limit_threads(threads)
        random = np.random.default_rng(0)
        X = random.standard_normal((rows, 784), np.float32)
        w1, w2 = (0.05 * random.standard_normal(shape, np.float32) for shape in ((784, 128), (128, 10)))
        b1, b2 = (random.standard_normal(n, np.float32) for n in (128, 10))
        self.run = globals()[f"{library}_predict"](threads, X, w1, b1, w2, b2)
        # All are the same network: else there is nothing to compare.
        wanted = numpy_predict(threads, X, w1, b1, w2, b2)()
        np.testing.assert_allclose(np.asarray(self.run()), wanted, rtol=1e-3, atol=1e-3)

    def time_predict(self, rows, library):
        self.run()


def numpy_predict(threads, X, w1, b1, w2, b2):
    return lambda: np.maximum(X @ w1 + b1, 0) @ w2 + b2


def fastnn_predict(threads, X, w1, b1, w2, b2):
    import fastnn as fnn

    model = fnn.Sequential(fnn.Dense(*w1.shape), fnn.ReLU(), fnn.Dense(*w2.shape))
    # A model that was trained, whose parameters have the data's dtype.
    model.fit(X[:1], [0], epochs=1)
    for layer, weights, biases in (model.layers[0], w1, b1), (model.layers[2], w2, b2):
        layer.weights[...], layer.biases[...] = weights, biases
    fnn.set_num_threads(threads)
    return lambda: model.predict(X)


def torch_predict(threads, X, w1, b1, w2, b2):
    import torch

    torch.set_num_threads(threads)
    model = torch.nn.Sequential(torch.nn.Linear(*w1.shape), torch.nn.ReLU(), torch.nn.Linear(*w2.shape)).eval()
    with torch.no_grad():
        for layer, weights, biases in (model[0], w1, b1), (model[2], w2, b2):
            layer.weight.copy_(torch.from_numpy(weights.T.copy()))
            layer.bias.copy_(torch.from_numpy(biases))
    x = torch.from_numpy(X)

    def run():
        with torch.inference_mode():
            return model(x)

    return run


def onnxruntime_predict(threads, X, w1, b1, w2, b2):
    needs("onnx")
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    arrays = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 784])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    # Old versions on purpose: onnx writes newer ones than an onnxruntime of the same day reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["y"], {"x": X})[0]


class RandomSearch:
    """A thousand draws of all parameters of 2-3-3 on 300 rows, the best kept."""

    params = (LIBRARIES,)
    param_names = ["library"]

    def setup(self, library):
        limit_threads(1)
        random = np.random.default_rng(0)
        X, y = random.normal(size=(300, 2)).astype(np.float32), random.integers(0, 3, 300)
        if library == "numpy":
            self.run = lambda: numpy_search(random, X, y)
        else:
            import fastnn as fnn

            model = fnn.Sequential(fnn.Dense(2, 3), fnn.ReLU(), fnn.Dense(3, 3), seed=0)
            self.run = lambda: fnn.random_search(model, X, y, iterations=1000, mode="replace", seed=0)
        self.run()

    def time_1000_iterations(self, library):
        self.run()


def numpy_search(random, X, y):
    """The search as notes write it."""
    lowest, best = np.inf, None
    for _ in range(1000):
        w1, b1, w2, b2 = (
            0.05 * random.standard_normal(shape, np.float32) for shape in ((2, 3), (1, 3), (3, 3), (1, 3))
        )
        logits = np.maximum(X @ w1 + b1, 0) @ w2 + b2
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = powers / powers.sum(axis=1, keepdims=True)
        loss = -np.log(np.clip(p[range(len(y)), y], 1e-7, 1 - 1e-7)).mean()
        accuracy = np.mean(p.argmax(axis=1) == y)
        if loss < lowest:
            lowest, best = loss, (w1, b1, w2, b2, accuracy)
    return lowest, best
