"""Slow, obvious twins of what fastnn computes, in NumPy alone. Nothing of fastnn is imported here.

All of it follows the dtype of its arrays; give it float64 for the numbers to be compared with.
"""

import numpy as np

# Layers and activations.


def dense(x, w, b):
    return x @ w + b


def dense_backward(x, w, dz):
    """Return dw, db, dx."""
    return x.T @ dz, dz.sum(axis=0), dz @ w.T


def linear(x):
    return x


def relu(x):
    return np.where(x <= 0, np.zeros_like(x), x)  # NaN stays


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def tanh(x):
    return np.tanh(x)


def linear_backward(dy, y):
    return dy


def relu_backward(dy, y):
    return np.where(y > 0, dy, np.zeros_like(dy))


def sigmoid_backward(dy, y):
    return dy * (1 - y) * y


def tanh_backward(dy, y):
    return dy * (1 - y * y)


ACTIVATIONS = {
    "linear": (linear, linear_backward),
    "relu": (relu, relu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
}


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(dp, p):
    return p * (dp - (dp * p).sum(axis=1, keepdims=True))


# Losses: the loss of each sample, and the gradient of the mean.


def one_hot(labels, classes, dtype=np.float64):
    targets = np.zeros((len(labels), classes), dtype)
    targets[np.arange(len(labels)), labels] = 1
    return targets


def smoothed(targets, smoothing):
    return (1 - smoothing) * targets + smoothing / targets.shape[1]


def softmax_cross_entropy(z, targets):
    """`targets` are probabilities; return the losses and dz."""
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(targets * log_p).sum(axis=1), (np.exp(log_p) - targets) / len(z)


def mean_squared_error(z, targets):
    """Return the losses and dz."""
    return ((z - targets) ** 2).mean(axis=1), 2 * (z - targets) / z.size


# Penalties.


def penalty(w, l1, l2):
    return l1 * np.abs(w).sum() + l2 * (w**2).sum()


def penalty_gradient(w, l1, l2):
    return l1 * np.where(w < 0, -1.0, 1.0).astype(w.dtype) + 2 * l2 * w


# Optimisers: each takes parameter, gradient, state arrays and step (from 0), and changes the first and third.


def sgd(w, g, state, step, lr):
    w -= lr * g


def momentum(w, g, state, step, lr, momentum):
    u = momentum * state[0] - lr * g
    state[0][...] = u
    w += u


def nesterov(w, g, state, step, lr, momentum):
    u = momentum * state[0] - lr * g
    state[0][...] = u
    w += momentum * u - lr * g


def adagrad(w, g, state, step, lr, eps, inside=False):
    state[0] += g * g
    w -= lr * g / (np.sqrt(state[0] + eps) if inside else np.sqrt(state[0]) + eps)


def rmsprop(w, g, state, step, lr, rho, eps, inside=False):
    state[0][...] = rho * state[0] + (1 - rho) * g * g
    w -= lr * g / (np.sqrt(state[0] + eps) if inside else np.sqrt(state[0]) + eps)


def adam(w, g, state, step, lr, beta_1, beta_2, eps, amsgrad=False, weight_decay=0.0):
    w *= 1 - lr * weight_decay
    state[0][...] = beta_1 * state[0] + (1 - beta_1) * g
    state[1][...] = beta_2 * state[1] + (1 - beta_2) * g * g
    v = state[1]
    if amsgrad:
        np.maximum(state[2], v, out=state[2])
        v = state[2]
    corrected = v / (1 - beta_2 ** (step + 1))
    w -= lr * state[0] / (1 - beta_1 ** (step + 1)) / (np.sqrt(corrected) + eps)


def lion(w, g, state, step, lr, beta_1, beta_2, weight_decay=0.0):
    direction = np.sign(beta_1 * state[0] + (1 - beta_1) * g)
    w *= 1 - lr * weight_decay
    w -= lr * direction
    state[0][...] = beta_2 * state[0] + (1 - beta_2) * g


# name -> (update, number of state arrays, hyperparameters)
OPTIMIZERS = {
    "sgd": (sgd, 0, {}),
    "momentum": (momentum, 1, {"momentum": 0.9}),
    "nesterov": (nesterov, 1, {"momentum": 0.9}),
    "adagrad": (adagrad, 1, {"eps": 1e-7}),
    "adagrad_inside": (adagrad, 1, {"eps": 1e-7, "inside": True}),
    "rmsprop": (rmsprop, 1, {"rho": 0.9, "eps": 1e-7}),
    "rmsprop_inside": (rmsprop, 1, {"rho": 0.9, "eps": 1e-7, "inside": True}),
    "adam": (adam, 2, {"beta_1": 0.9, "beta_2": 0.999, "eps": 1e-7}),
    "amsgrad": (adam, 3, {"beta_1": 0.9, "beta_2": 0.999, "eps": 1e-7, "amsgrad": True}),
    "adamw": (adam, 2, {"beta_1": 0.9, "beta_2": 0.999, "eps": 1e-7, "weight_decay": 0.01}),
    "lion": (lion, 1, {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.01}),
}


def inverse_time_decay(lr, decay, step):
    return lr / (1 + decay * step)


# Gradients by finite differences.


def numerical_gradient(function, at, h=1e-6):
    """Return the gradient of the scalar ``function()`` with respect to the array `at`, which it reads."""
    gradient = np.empty_like(at)
    for index in np.ndindex(at.shape):
        kept = at[index]
        at[index] = kept + h
        above = function()
        at[index] = kept - h
        below = function()
        at[index] = kept
        gradient[index] = (above - below) / (2 * h)
    return gradient


# A network in the style of the seeds.


class Network:
    """Dense layers with one activation between them, and a loss at the end.

    Parameters
    ----------
    parameters : list of (weights, biases)
        Copied.
    activation : str
        A name of `ACTIVATIONS`.
    loss : str
        "softmax_cross_entropy" (targets are labels) or "mean_squared_error".
    penalties : tuple of float
        weight_l1, weight_l2, bias_l1, bias_l2 of every layer.
    """

    def __init__(self, parameters, activation="relu", loss="softmax_cross_entropy", penalties=(0, 0, 0, 0)):
        self.weights = [np.array(w) for w, _ in parameters]
        self.biases = [np.array(b) for _, b in parameters]
        self.act, self.act_backward = ACTIVATIONS[activation]
        self.loss_name, self.penalties = loss, penalties
        self.state = {}

    def forward(self, x):
        """Return the outputs; what each layer was given and gave is kept."""
        self.given, self.made = [], []
        last = len(self.weights) - 1
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            self.given.append(x)
            x = dense(x, w, b)
            if i < last:
                x = self.act(x)
            self.made.append(x)
        return x

    def loss_and_gradients(self, x, y):
        """Return the mean loss with penalties, the accuracy, and a list of (dw, db)."""
        z = self.forward(x)
        if self.loss_name == "softmax_cross_entropy":
            losses, d = softmax_cross_entropy(z, one_hot(y, z.shape[1], z.dtype))
            accuracy = np.mean(z.argmax(axis=1) == y)
        else:
            losses, d = mean_squared_error(z, y)
            accuracy = np.nan
        loss = losses.mean()
        w1, w2, b1, b2 = self.penalties
        gradients = []
        for i in reversed(range(len(self.weights))):
            w, b = self.weights[i], self.biases[i]
            if i < len(self.weights) - 1:
                d = self.act_backward(d, self.made[i])
            dw, db, d = dense_backward(self.given[i], w, d)
            gradients.append((dw + penalty_gradient(w, w1, w2), db + penalty_gradient(b, b1, b2)))
            loss += penalty(w, w1, w2) + penalty(b, b1, b2)
        return loss, accuracy, gradients[::-1]

    def step(self, x, y, optimizer, number, lr, **settings):
        """Do step `number` with the optimiser of that name; return loss, accuracy and gradients before it."""
        loss, accuracy, gradients = self.loss_and_gradients(x, y)
        update, slots, defaults = OPTIMIZERS[optimizer]
        for i, pair in enumerate(gradients):
            for name, value, g in zip("wb", (self.weights[i], self.biases[i]), pair, strict=True):
                state = self.state.setdefault((i, name), [np.zeros_like(value) for _ in range(slots)])
                update(value, g, state, number, lr, **{**defaults, **settings})
        return loss, accuracy, gradients


def train(network, x, y, optimizer, steps, rate, **settings):
    """Train on all of (x, y) at once, `rate(step)` being the learning rate; return the losses."""
    return [network.step(x, y, optimizer, number, rate(number), **settings)[0] for number in range(steps)]
