"""The book's classes in plain NumPy, written from their formulas: what the door is compared with. No fastnn in here."""

import numpy as np


class Layer_Dense:
    def __init__(self, n_inputs, n_neurons, weight_regularizer_l1=0, weight_regularizer_l2=0,
                 bias_regularizer_l1=0, bias_regularizer_l2=0):  # fmt: skip
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
        self.weight_regularizer_l1, self.weight_regularizer_l2 = weight_regularizer_l1, weight_regularizer_l2
        self.bias_regularizer_l1, self.bias_regularizer_l2 = bias_regularizer_l1, bias_regularizer_l2

    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        for short in ("weight", "bias"):
            param, grad = (self.weights, self.dweights) if short == "weight" else (self.biases, self.dbiases)
            l1, l2 = getattr(self, f"{short}_regularizer_l1"), getattr(self, f"{short}_regularizer_l2")
            if l1 > 0:
                grad += l1 * np.where(param < 0, -1.0, 1.0).astype(param.dtype)
            if l2 > 0:
                grad += 2 * l2 * param
        self.dinputs = np.dot(dvalues, self.weights.T)

    def get_parameters(self):
        return self.weights, self.biases

    def set_parameters(self, weights, biases):
        self.weights, self.biases = weights, biases


class Layer_Dropout:
    def __init__(self, rate):
        self.rate = 1 - rate

    def forward(self, inputs, training=True):
        self.inputs = inputs
        if not training:
            self.output = inputs.copy()
            return
        self.binary_mask = np.random.binomial(1, self.rate, size=inputs.shape) / self.rate
        self.output = inputs * self.binary_mask

    def backward(self, dvalues):
        self.dinputs = dvalues * self.binary_mask


class Layer_Input:
    def forward(self, inputs, training):
        self.output = inputs


class Activation_ReLU:
    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0

    def predictions(self, outputs):
        return outputs


class Activation_Softmax:
    def forward(self, inputs, training=True):
        self.inputs = inputs
        exponents = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = exponents / np.sum(exponents, axis=1, keepdims=True)

    def backward(self, dvalues):
        self.dinputs = np.empty_like(dvalues)
        for i, (p, d) in enumerate(zip(self.output, dvalues, strict=True)):
            p = p.reshape(-1, 1)
            self.dinputs[i] = np.dot(np.diagflat(p) - np.dot(p, p.T), d)

    def predictions(self, outputs):
        return np.argmax(outputs, axis=1)


class Activation_Sigmoid:
    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = 1 / (1 + np.exp(-inputs))

    def backward(self, dvalues):
        self.dinputs = dvalues * (1 - self.output) * self.output

    def predictions(self, outputs):
        return (outputs > 0.5) * 1


class Activation_Linear:
    def forward(self, inputs, training=True):
        self.inputs = self.output = inputs

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()

    def predictions(self, outputs):
        return outputs


class Optimizer_SGD:
    def __init__(self, learning_rate=1.0, decay=0.0, momentum=0.0):
        self.learning_rate = self.current_learning_rate = learning_rate
        self.decay, self.iterations, self.momentum = decay, 0, momentum

    def pre_update_params(self):
        if self.decay:
            self.current_learning_rate = self.learning_rate * (1.0 / (1.0 + self.decay * self.iterations))

    def update_params(self, layer):
        for short, plural in (("weight", "weights"), ("bias", "biases")):
            param = getattr(layer, plural)
            param += self.change(layer, short, param, getattr(layer, f"d{plural}"))

    def kept(self, layer, name, param):
        if not hasattr(layer, name):
            setattr(layer, name, np.zeros_like(param))
        return getattr(layer, name)

    def change(self, layer, short, param, grad):
        if not self.momentum:
            return -self.current_learning_rate * grad
        name = f"{short}_momentums"
        setattr(layer, name, self.momentum * self.kept(layer, name, param) - self.current_learning_rate * grad)
        return getattr(layer, name)

    def post_update_params(self):
        self.iterations += 1


class Optimizer_Adagrad(Optimizer_SGD):
    def __init__(self, learning_rate=1.0, decay=0.0, epsilon=1e-7):
        super().__init__(learning_rate, decay)
        self.epsilon = epsilon

    def change(self, layer, short, param, grad):
        cache = self.kept(layer, f"{short}_cache", param) + grad**2
        setattr(layer, f"{short}_cache", cache)
        return -self.current_learning_rate * grad / (np.sqrt(cache) + self.epsilon)


class Optimizer_RMSprop(Optimizer_SGD):
    def __init__(self, learning_rate=0.001, decay=0.0, epsilon=1e-7, rho=0.9):
        super().__init__(learning_rate, decay)
        self.epsilon, self.rho = epsilon, rho

    def change(self, layer, short, param, grad):
        cache = self.rho * self.kept(layer, f"{short}_cache", param) + (1 - self.rho) * grad**2
        setattr(layer, f"{short}_cache", cache)
        return -self.current_learning_rate * grad / (np.sqrt(cache) + self.epsilon)


class Optimizer_Adam(Optimizer_SGD):
    def __init__(self, learning_rate=0.001, decay=0.0, epsilon=1e-7, beta_1=0.9, beta_2=0.999):
        super().__init__(learning_rate, decay)
        self.epsilon, self.beta_1, self.beta_2 = epsilon, beta_1, beta_2

    def change(self, layer, short, param, grad):
        if not hasattr(layer, f"{short}_cache"):
            setattr(layer, f"{short}_momentums", np.zeros_like(param))
        m = self.beta_1 * self.kept(layer, f"{short}_momentums", param) + (1 - self.beta_1) * grad
        c = self.beta_2 * self.kept(layer, f"{short}_cache", param) + (1 - self.beta_2) * grad**2
        setattr(layer, f"{short}_momentums", m)
        setattr(layer, f"{short}_cache", c)
        step = self.iterations + 1
        corrected, root = m / (1 - self.beta_1**step), np.sqrt(c / (1 - self.beta_2**step))
        return -self.current_learning_rate * corrected / (root + self.epsilon)


class Loss:
    def regularization_loss(self, layer=None):
        total = 0
        for each in self.trainable_layers if layer is None else [layer]:
            for short, param in (("weight", each.weights), ("bias", each.biases)):
                l1, l2 = getattr(each, f"{short}_regularizer_l1"), getattr(each, f"{short}_regularizer_l2")
                if l1 > 0:
                    total += l1 * np.sum(np.abs(param))
                if l2 > 0:
                    total += l2 * np.sum(param * param)
        return total

    def remember_trainable_layers(self, trainable_layers):
        self.trainable_layers = trainable_layers

    def new_pass(self):
        self.accumulated_sum = self.accumulated_count = 0

    def calculate(self, output, y, *, include_regularization=False):
        losses = self.forward(output, y)
        self.accumulated_sum = getattr(self, "accumulated_sum", 0) + np.sum(losses)
        self.accumulated_count = getattr(self, "accumulated_count", 0) + len(losses)
        return (np.mean(losses), self.regularization_loss()) if include_regularization else np.mean(losses)

    def calculate_accumulated(self, *, include_regularization=False):
        loss = self.accumulated_sum / self.accumulated_count
        return (loss, self.regularization_loss()) if include_regularization else loss


class Loss_CategoricalCrossentropy(Loss):
    def forward(self, y_pred, y_true):
        clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
        if y_true.ndim == 1:
            return -np.log(clipped[range(len(y_pred)), y_true])
        return -np.log(np.sum(clipped * y_true, axis=1))

    def backward(self, dvalues, y_true):
        if y_true.ndim == 1:
            y_true = np.eye(dvalues.shape[1])[y_true]
        self.dinputs = -y_true / dvalues / len(dvalues)


class Activation_Softmax_Loss_CategoricalCrossentropy:
    def __init__(self):
        self.activation, self.loss = Activation_Softmax(), Loss_CategoricalCrossentropy()

    def forward(self, inputs, y_true):
        self.activation.forward(inputs)
        self.output = self.activation.output
        return self.loss.calculate(self.output, y_true)

    def backward(self, dvalues, y_true):
        if y_true.ndim == 2:
            y_true = np.argmax(y_true, axis=1)
        self.dinputs = dvalues.copy()
        self.dinputs[range(len(dvalues)), y_true] -= 1
        self.dinputs = self.dinputs / len(dvalues)


class Loss_BinaryCrossentropy(Loss):
    def forward(self, y_pred, y_true):
        p = np.clip(y_pred, 1e-7, 1 - 1e-7)
        return np.mean(-(y_true * np.log(p) + (1 - y_true) * np.log(1 - p)), axis=-1)

    def backward(self, dvalues, y_true):
        p = np.clip(dvalues, 1e-7, 1 - 1e-7)
        self.dinputs = -(y_true / p - (1 - y_true) / (1 - p)) / dvalues.shape[1] / len(dvalues)


class Loss_MeanSquaredError(Loss):
    def forward(self, y_pred, y_true):
        return np.mean((y_true - y_pred) ** 2, axis=-1)

    def backward(self, dvalues, y_true):
        self.dinputs = -2 * (y_true - dvalues) / dvalues.shape[1] / len(dvalues)


class Loss_MeanAbsoluteError(Loss):
    """With the right sign."""

    def forward(self, y_pred, y_true):
        return np.mean(np.abs(y_true - y_pred), axis=-1)

    def backward(self, dvalues, y_true):
        self.dinputs = np.sign(dvalues - y_true) / dvalues.shape[1] / len(dvalues)


class Accuracy:
    def init(self, y):
        pass

    def new_pass(self):
        self.accumulated_sum = self.accumulated_count = 0

    def calculate(self, predictions, y):
        comparisons = self.compare(predictions, y)
        self.accumulated_sum += np.sum(comparisons)
        self.accumulated_count += comparisons.size
        return np.mean(comparisons)

    def calculate_accumulated(self):
        return self.accumulated_sum / self.accumulated_count


class Accuracy_Categorical(Accuracy):
    def __init__(self, *, binary=False):
        self.binary = binary

    def compare(self, predictions, y):
        if not self.binary and y.ndim == 2:
            y = np.argmax(y, axis=1)
        return predictions == y


class Accuracy_Regression(Accuracy):
    precision = None

    def init(self, y, reinit=False):
        if self.precision is None or reinit:
            self.precision = np.std(y) / 250

    def compare(self, predictions, y):
        return np.absolute(predictions - y) < self.precision


class Model:
    def __init__(self):
        self.layers, self.loss, self.optimizer, self.accuracy = [], None, None, None
        self.joint = None

    def add(self, layer):
        self.layers.append(layer)

    def set(self, *, loss=None, optimizer=None, accuracy=None):
        self.loss, self.optimizer, self.accuracy = loss or self.loss, optimizer or self.optimizer, accuracy

    def finalize(self):
        self.input_layer = Layer_Input()
        chain = [self.input_layer, *self.layers, self.loss]
        for before, layer, after in zip(chain, self.layers, chain[2:], strict=False):
            layer.prev, layer.next = before, after
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        self.loss.remember_trainable_layers(self.trainable_layers)
        if isinstance(self.layers[-1], Activation_Softmax) and isinstance(self.loss, Loss_CategoricalCrossentropy):
            self.joint = Activation_Softmax_Loss_CategoricalCrossentropy()

    def forward(self, X, training):
        self.input_layer.forward(X, training)
        for layer in self.layers:
            layer.forward(layer.prev.output, training)
        return self.layers[-1].output

    def backward(self, output, y):
        layers = self.layers
        if self.joint is not None:
            self.joint.backward(output, y)
            layers[-1].dinputs, layers = self.joint.dinputs, layers[:-1]
        else:
            self.loss.backward(output, y)
        for layer in reversed(layers):
            layer.backward(layer.next.dinputs)

    def line(self, accuracy, data_loss, reg_loss):
        return (
            f"acc: {accuracy:.3f}, loss: {data_loss + reg_loss:.3f} (data_loss: {data_loss:.3f}, "
            f"reg_loss: {reg_loss:.3f}), lr: {self.optimizer.current_learning_rate}"
        )

    def train(self, X, y, *, epochs=1, batch_size=None, print_every=1, validation_data=None):
        self.accuracy.init(y)
        batch = len(X) if batch_size is None else batch_size
        steps = -(-len(X) // batch)
        for epoch in range(1, epochs + 1):
            print(f"epoch: {epoch}")
            self.loss.new_pass()
            self.accuracy.new_pass()
            for step in range(steps):
                some, wanted = X[step * batch : (step + 1) * batch], y[step * batch : (step + 1) * batch]
                output = self.forward(some, True)
                data_loss, reg_loss = self.loss.calculate(output, wanted, include_regularization=True)
                accuracy = self.accuracy.calculate(self.layers[-1].predictions(output), wanted)
                self.backward(output, wanted)
                self.optimizer.pre_update_params()
                for layer in self.trainable_layers:
                    self.optimizer.update_params(layer)
                self.optimizer.post_update_params()
                if not step % print_every or step == steps - 1:
                    print(f"step: {step}, {self.line(accuracy, data_loss, reg_loss)}")
            data_loss, reg_loss = self.loss.calculate_accumulated(include_regularization=True)
            print(f"training, {self.line(self.accuracy.calculate_accumulated(), data_loss, reg_loss)}")
            if validation_data is not None:
                self.evaluate(*validation_data, batch_size=batch_size)

    def evaluate(self, X, y, *, batch_size=None):
        batch = len(X) if batch_size is None else batch_size
        self.loss.new_pass()
        self.accuracy.new_pass()
        for start in range(0, len(X), batch):
            output, wanted = self.forward(X[start : start + batch], False), y[start : start + batch]
            self.loss.calculate(output, wanted)
            self.accuracy.calculate(self.layers[-1].predictions(output), wanted)
        accuracy, loss = self.accuracy.calculate_accumulated(), self.loss.calculate_accumulated()
        print(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")
