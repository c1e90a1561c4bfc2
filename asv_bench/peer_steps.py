"""The training step of each peer, for `peers.py`: one class a peer, all given the same work.

Every class trains the same network from the same initial weights on the same batches, in float32, with the
constants below. A library is imported when its class is first built, never with this file.
"""

import time
import warnings
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class Case:
    """One network, its batch and its optimiser."""

    name: str
    widths: tuple
    batch: int
    optimiser: str
    batches: int = 10

    @property
    def rate(self):
        """Learning rate: small enough that a long run stays finite."""
        return 0.1 if self.optimiser == "sgd" else 1e-3

    @property
    def flops(self):
        """Operations of a step's products: forward, `dweights`, and `dinputs` for all but the first layer."""
        sizes = [n_in * n_out for n_in, n_out in pairwise(self.widths)]
        return self.batch * (4 * sizes[0] + 6 * sum(sizes[1:]))

    @property
    def text(self):
        """The case in words, for the table."""
        optimiser = "SGD momentum" if self.optimiser == "sgd" else "Adam"
        return f"{self.name}: {'-'.join(map(str, self.widths))}, {self.batch}, {optimiser}"


CASES = {
    case.name: case
    for case in (
        Case("spiral-sgd", (2, 64, 3), 300, "sgd", batches=1),
        Case("spiral-adam", (2, 64, 3), 300, "adam", batches=1),
        Case("digits", (64, 100, 10), 200, "adam"),
        Case("mnist-s", (784, 128, 10), 32, "adam"),
        Case("mnist-m", (784, 512, 512, 10), 128, "adam"),
        Case("mnist-l", (784, 1024, 1024, 1024, 10), 256, "adam"),
        Case("higgs", (28, 300, 300, 300, 2), 1024, "adam"),
    )
}


def make_data(case):
    """Rows and labels of a case.

    Each row stands twice, under two different labels: a network that learnt the rows by heart would have
    gradients too small for normal floats, and denormal arithmetic would be timed instead of training.

    Returns
    -------
    x : ndarray (batches * batch, widths[0]), float32
    y : ndarray (batches * batch,), int64
    """
    rng = np.random.default_rng(11)
    half, classes = case.batch * case.batches // 2, case.widths[-1]
    x = rng.standard_normal((half, case.widths[0]), dtype=np.float32)
    y = rng.integers(classes, size=half)
    other = (y + rng.integers(1, classes, size=half)) % classes
    return np.concatenate([x, x]), np.concatenate([y, other])


def make_weights(case):
    """Initial weights, one (inputs, outputs) float32 array a layer; biases begin at zero."""
    rng = np.random.default_rng(12)
    return [
        rng.standard_normal((n_in, n_out), dtype=np.float32) * np.float32((2 / n_in) ** 0.5)
        for n_in, n_out in pairwise(case.widths)
    ]


def make_order(case, steps, shuffle):
    """Row numbers of every step's batch, (steps, batch) int32: consecutive, or another order each epoch."""
    rows = np.arange(case.batch * case.batches, dtype=np.int32)
    rng = np.random.default_rng(13)
    epochs = [rng.permutation(rows) if shuffle else rows for _ in range(-(-steps // case.batches))]
    return np.concatenate(epochs).reshape(-1, case.batch)[:steps]


class Peer:
    """A peer which is called once a step, as NumPy and PyTorch are.

    Parameters
    ----------
    case : Case
    threads : int
    shuffle : bool
        Whether batches are gathered from shuffled rows, or are consecutive rows and thus views.
    """

    def __init__(self, case, threads, shuffle):
        self.case, self.threads, self.shuffle = case, threads, shuffle and case.batches > 1
        self.note = ""
        self.x, self.y = make_data(case)
        self.setup()
        self.reset()

    def setup(self):
        """What is done once: imports, and data in the peer's own form."""

    def reset(self):
        """Go back to the initial weights and an optimiser without memory."""
        raise NotImplementedError

    def step(self, x, y):
        """Train on one batch and return its loss, in the peer's own type."""
        raise NotImplementedError

    def each(self, steps):
        """Yield the loss of every step."""
        size, count = self.case.batch, self.case.batches
        if self.shuffle:
            for rows in self.rows(make_order(self.case, steps, True)):
                yield self.step(self.x[rows], self.y[rows])
        else:
            parts = [slice(i * size, (i + 1) * size) for i in range(count)]
            views = [(self.x[part], self.y[part]) for part in parts]
            for i in range(steps):
                yield self.step(*views[i % count])

    def rows(self, order):
        """The order in the type the peer indexes with."""
        return order

    def run(self, steps):
        """Train on from the present state. Returns the seconds taken and the last loss."""
        losses = self.each(steps)
        # The first step also makes the views or the order: it is left out of the clock.
        next(losses)
        start = time.perf_counter()
        for loss in losses:  # noqa: B007 - the last one is told
            pass
        seconds = time.perf_counter() - start
        return seconds * steps / (steps - 1), float(loss)

    def losses(self, steps):
        """Losses of the first steps from the initial weights, one a step (or one an epoch)."""
        self.reset()
        return [float(loss) for loss in self.each(steps)]


class Numpy(Peer):
    """Layer objects and whole-array expressions, as notes on networks from scratch write them."""

    def reset(self):
        self.layers = []
        for weights in make_weights(self.case):
            self.layers += [NumpyDense(weights), NumpyReLU()]
        self.layers[-1] = NumpySoftmaxLoss()
        self.optimiser = (NumpyMomentum if self.case.optimiser == "sgd" else NumpyAdam)(self.case.rate)

    def step(self, x, y):
        for layer in self.layers[:-1]:
            x = layer.forward(x)
        loss = self.layers[-1].forward(x, y)
        gradient = self.layers[-1].backward(y)
        for layer in self.layers[-2::-1]:
            gradient = layer.backward(gradient)
        self.optimiser.begin()
        for layer in self.layers[:-1:2]:
            self.optimiser.update(layer)
        return loss


class NumpyDense:
    """inputs @ weights + biases."""

    def __init__(self, weights):
        self.weights = weights.copy()
        self.biases = np.zeros((1, weights.shape[1]), dtype=weights.dtype)
        self.weight_memory, self.weight_squares = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.bias_memory, self.bias_squares = np.zeros_like(self.biases), np.zeros_like(self.biases)

    def forward(self, inputs):
        self.inputs = inputs
        return np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        return np.dot(dvalues, self.weights.T)


class NumpyReLU:
    """max(0, inputs)."""

    def forward(self, inputs):
        self.inputs = inputs
        return np.maximum(0, inputs)

    def backward(self, dvalues):
        dinputs = dvalues.copy()
        dinputs[self.inputs <= 0] = 0
        return dinputs


class NumpySoftmaxLoss:
    """Softmax and cross-entropy, with their joint gradient."""

    def forward(self, inputs, labels):
        powers = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = powers / np.sum(powers, axis=1, keepdims=True)
        chosen = np.clip(self.output[range(len(labels)), labels], 1e-7, 1 - 1e-7)
        return np.mean(-np.log(chosen))

    def backward(self, labels):
        dinputs = self.output.copy()
        dinputs[range(len(labels)), labels] -= 1
        return dinputs / len(labels)


class NumpyMomentum:
    """Gradient descent with momentum."""

    def __init__(self, rate):
        self.rate = rate

    def begin(self):
        pass

    def update(self, layer):
        layer.weight_memory = MOMENTUM * layer.weight_memory - self.rate * layer.dweights
        layer.bias_memory = MOMENTUM * layer.bias_memory - self.rate * layer.dbiases
        layer.weights += layer.weight_memory
        layer.biases += layer.bias_memory


class NumpyAdam:
    """Adam, with corrected moments in arrays of their own."""

    def __init__(self, rate):
        self.rate, self.steps = rate, 0

    def begin(self):
        self.steps += 1

    def update(self, layer):
        layer.weight_memory = BETA_1 * layer.weight_memory + (1 - BETA_1) * layer.dweights
        layer.bias_memory = BETA_1 * layer.bias_memory + (1 - BETA_1) * layer.dbiases
        layer.weight_squares = BETA_2 * layer.weight_squares + (1 - BETA_2) * layer.dweights**2
        layer.bias_squares = BETA_2 * layer.bias_squares + (1 - BETA_2) * layer.dbiases**2
        first, second = 1 - BETA_1**self.steps, 1 - BETA_2**self.steps
        weight_mean, bias_mean = layer.weight_memory / first, layer.bias_memory / first
        weight_square, bias_square = layer.weight_squares / second, layer.bias_squares / second
        layer.weights += -self.rate * weight_mean / (np.sqrt(weight_square) + EPSILON)
        layer.biases += -self.rate * bias_mean / (np.sqrt(bias_square) + EPSILON)


class Torch(Peer):
    """PyTorch called step by step, with its fused optimisers."""

    def setup(self):
        import torch

        self.torch = torch
        torch.set_num_threads(self.threads)
        self.x, self.y = torch.from_numpy(self.x), torch.from_numpy(self.y)
        layers = []
        for n_in, n_out in pairwise(self.case.widths):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.optimiser = self.make_optimiser(fused=True)

    def make_optimiser(self, **how):
        """The case's optimiser; `how` chooses one of PyTorch's implementations of it."""
        parameters, rate = self.model.parameters(), self.case.rate
        if self.case.optimiser == "sgd":
            return self.torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, **how)
        return self.torch.optim.Adam(parameters, lr=rate, betas=(BETA_1, BETA_2), eps=EPSILON, **how)

    def reset(self):
        with self.torch.no_grad():
            for layer, weights in zip(self.model[::2], make_weights(self.case), strict=True):
                layer.weight.copy_(self.torch.from_numpy(weights.T.copy()))
                layer.bias.zero_()
            # The memory is cleared in place: new tensors would make compiled code compile again.
            for state in self.optimiser.state.values():
                for value in state.values():
                    if value is not None:
                        value.zero_()

    def rows(self, order):
        return self.torch.from_numpy(order.astype(np.int64))

    def step(self, x, y):
        loss = self.torch.nn.functional.cross_entropy(self.model(x), y)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach()


class TorchCompile(Torch):
    """PyTorch through `torch.compile`: three ways of compiling a step, of which the fastest is kept.

    The ways are forward and backward compiled with the fused optimiser as it is, the same with the optimiser
    compiled too, and the whole step, gradient and update, as one graph.
    """

    patience = 90  # seconds after which no further way is tried

    def setup(self):
        super().setup()
        # This process may have compiled another case: its graphs would count against the recompile limit.
        self.torch._dynamo.reset()
        entropy, model = self.torch.nn.functional.cross_entropy, self.model
        self.loss = self.torch.compile(lambda x, y: entropy(model(x), y), dynamic=False)
        ways = {
            "one graph": self.use_graph,
            "fused optimiser": self.use_fused,
            "compiled optimiser": self.use_own,
        }
        begin, found, failures = time.perf_counter(), {}, []
        for name, use in ways.items():
            if found and time.perf_counter() - begin > self.patience:
                break
            try:
                found[self.try_way(use)] = name
            except Exception as error:  # a way that does not compile here is only a way less
                failures.append(f"{name} failed with {type(error).__name__}")
        if not found:
            raise RuntimeError(", ".join(failures))
        best = found[min(found)]
        ways[best]()
        self.note = ", ".join([f"{best} was the fastest of {len(found)} ways", *failures])

    def try_way(self, use):
        """Seconds a step, the best of three short runs, compilation left out."""
        use()
        self.reset()
        self.run(10)
        steps = max(10, int(0.5 / self.run(10)[0]))
        return min(self.run(steps)[0] for _ in range(3)) / steps

    def use_fused(self):
        """Compiled forward and backward, PyTorch's own fused update."""
        self.optimiser = self.make_optimiser(fused=True)
        self.update, self.whole = self.optimiser.step, None

    def use_own(self):
        """Compiled forward and backward, and a compiled update."""
        self.optimiser = self.make_optimiser(foreach=True)
        self.update, self.whole = self.torch.compile(self.optimiser.step, dynamic=False), None

    def use_graph(self):
        """Everything in one graph."""
        parameters = [p.detach() for p in self.model.parameters()]
        memory = [self.torch.zeros_like(p) for p in parameters]
        squares = [self.torch.zeros_like(p) for p in parameters]
        count = self.torch.zeros(())
        # Only so that `reset` finds the state where other optimisers keep theirs.
        self.optimiser = type("State", (), {"state": {0: dict(enumerate([*memory, *squares, count]))}})
        state = (parameters, memory, squares, count)
        step = partial(_torch_whole_step, self.case.optimiser, self.case.rate, *state)
        self.whole = self.torch.compile(step, fullgraph=True, dynamic=False)

    def step(self, x, y):
        if self.whole is not None:
            with self.torch.no_grad():
                return self.whole(x, y)
        loss = self.loss(x, y)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.update()
        return loss.detach()


def _torch_whole_step(optimiser, rate, parameters, memory, squares, count, x, y):
    """Gradient and update in one function that `torch.compile` takes whole."""
    import torch
    from torch.nn.functional import cross_entropy, linear

    def loss_of(tensors):
        values = x
        for k in range(0, len(tensors) - 2, 2):
            values = torch.relu(linear(values, tensors[k], tensors[k + 1]))
        return cross_entropy(linear(values, tensors[-2], tensors[-1]), y)

    gradients, loss = torch.func.grad_and_value(loss_of)(parameters)
    count.add_(1)
    first, second = 1 - BETA_1**count, 1 - BETA_2**count
    for p, g, m, v in zip(parameters, gradients, memory, squares, strict=True):
        if optimiser == "sgd":
            m.mul_(MOMENTUM).sub_(g, alpha=rate)
            p.add_(m)
        else:
            m.lerp_(g, 1 - BETA_1)
            v.mul_(BETA_2).addcmul_(g, g, value=1 - BETA_2)
            p.sub_(rate * (m / first) / ((v / second).sqrt() + EPSILON))
    return loss


class Jax(Peer):
    """JAX, the whole run as one jitted `lax.scan` with its state donated."""

    def setup(self):
        import jax

        self.jax = jax
        x, y = jax.numpy.asarray(self.x), jax.numpy.asarray(self.y.astype(np.int32))
        if not self.shuffle:
            shape = (self.case.batches, self.case.batch)
            x, y = x.reshape(*shape, -1), y.reshape(shape)
        self.data = (x, y)
        step = self.make_step()
        self.scan = jax.jit(
            lambda state, order, x, y: jax.lax.scan(lambda s, i: step(s, x[i], y[i]), state, order),
            donate_argnums=0,
        )

    def make_step(self):
        """The step as a function of (state, x, y)."""
        return partial(_jax_step, self.case.optimiser, self.case.rate)

    def reset(self):
        numpy = self.jax.numpy
        layers = [(numpy.asarray(w), numpy.zeros(w.shape[1], w.dtype)) for w in make_weights(self.case)]
        memory, squares = (self.jax.tree.map(numpy.zeros_like, layers) for _ in range(2))
        self.state = (layers, memory, squares, numpy.float32(0))

    def scan_steps(self, steps):
        """Train on. Returns the seconds taken and every loss; the first call of a length compiles."""
        # Consecutive batches are taken by the batch's number: gathering rows would be work others are spared.
        order = make_order(self.case, steps, True) if self.shuffle else np.arange(steps) % self.case.batches
        order = self.jax.block_until_ready(self.jax.numpy.asarray(order, dtype="int32"))
        start = time.perf_counter()
        self.state, losses = self.jax.block_until_ready(self.scan(self.state, order, *self.data))
        return time.perf_counter() - start, np.asarray(losses)

    def run(self, steps):
        seconds, losses = self.scan_steps(steps)
        return seconds, float(losses[-1])

    def losses(self, steps):
        self.reset()
        return self.scan_steps(steps)[1].tolist()


def _jax_step(optimiser, rate, state, x, y):
    """One step as a pure function: (state, batch) to (new state, loss)."""
    import jax
    from jax import numpy

    def loss_of(layers):
        values = x
        for weights, biases in layers[:-1]:
            values = jax.nn.relu(values @ weights + biases)
        logits = values @ layers[-1][0] + layers[-1][1]
        # A one-hot sum instead of picking by index: no scatter in the backward pass, up to a tenth faster.
        chosen = numpy.sum(logits * jax.nn.one_hot(y, logits.shape[1]), axis=1)
        return numpy.mean(jax.nn.logsumexp(logits, axis=1) - chosen)

    layers, memory, squares, count = state
    loss, gradients = jax.value_and_grad(loss_of)(layers)
    count = count + 1
    if optimiser == "sgd":
        memory = jax.tree.map(lambda m, g: MOMENTUM * m - rate * g, memory, gradients)
        layers = jax.tree.map(lambda p, m: p + m, layers, memory)
    else:
        memory = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, memory, gradients)
        squares = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, squares, gradients)
        first, second = 1 - BETA_1**count, 1 - BETA_2**count

        def update(p, m, v):
            return p - rate * (m / first) / (numpy.sqrt(v / second) + EPSILON)

        layers = jax.tree.map(update, layers, memory, squares)
    return (layers, memory, squares, count), loss


class Sklearn(Peer):
    """scikit-learn's `MLPClassifier`; it draws its own weights and always shuffles."""

    def setup(self):
        from sklearn.neural_network import MLPClassifier

        self.make = partial(
            MLPClassifier,
            hidden_layer_sizes=self.case.widths[1:-1],
            activation="relu",
            solver=self.case.optimiser,
            alpha=0.0,
            batch_size=self.case.batch,
            learning_rate_init=self.case.rate,
            momentum=MOMENTUM,
            nesterovs_momentum=False,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            shuffle=True,
            random_state=0,
            tol=0.0,
            n_iter_no_change=10**9,
        )
        if self.case.widths[-1] == 2:
            self.note = "two classes are one logistic output there, a little less work"

    def reset(self):
        pass

    def run(self, steps):
        model = self.make(max_iter=steps // self.case.batches)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            model.fit(self.x, self.y)
            seconds = time.perf_counter() - start
        return seconds, model.loss_


class Fastnn(Peer):
    """fastnn: one `fit`, of which all but the training itself is counted too."""

    def setup(self):
        import fastnn

        self.fastnn = fastnn

    def reset(self):
        fnn, layers, weights = self.fastnn, [], make_weights(self.case)
        for array in weights:
            layers += [fnn.Dense(*array.shape), fnn.ReLU()]
        self.model = fnn.Sequential(*layers[:-1], seed=0)
        for layer, array in zip(layers[::2], weights, strict=True):
            layer.weights[...] = array

    def fit(self, steps):
        """Train on, with a fresh optimiser, and return the history."""
        fnn, rate = self.fastnn, self.case.rate
        sgd = self.case.optimiser == "sgd"
        return self.model.fit(
            self.x,
            self.y,
            loss=fnn.SoftmaxCrossEntropy(),
            optimizer=fnn.SGD(learning_rate=rate, momentum=MOMENTUM) if sgd else fnn.Adam(learning_rate=rate),
            epochs=steps // self.case.batches,
            batch_size=None if self.case.batches == 1 else self.case.batch,
            shuffle=self.shuffle,
            seed=0,
            progress=None,
            n_threads=self.threads,
        )

    def run(self, steps):
        start = time.perf_counter()
        history = self.fit(steps)
        return time.perf_counter() - start, float(history["loss"][-1])

    def losses(self, steps):
        self.reset()
        return [float(loss) for loss in self.fit(steps)["loss"]]


PEERS = {  # name: class, the import it needs
    "fastnn": (Fastnn, "fastnn"),
    "numpy": (Numpy, "numpy"),
    "torch": (Torch, "torch"),
    "torch-compile": (TorchCompile, "torch"),
    "jax": (Jax, "jax"),
    "sklearn": (Sklearn, "sklearn.neural_network"),
}
