"""The kernels of `fastnn.nnfs`, beside their references, for `registry`."""

import contextlib
import io

import nnfs_numpy
import numpy as np
import reference
from registry_base import ULP, add, blank, call, gamma, matrices, space, triples, wide
from registry_networks import LEARNING_RATE, OneHidden, narrow_networks, networks

from fastnn.kernels import book, book_labels, book_layers, book_values, optim

CLIP = 1e-7
NUMBER = 3  # of the optimiser's step that is compared


def classes(size):
    return [(size, 3), (5, max(size, 2)), (max(size, 1), 20)]


def build_classes(shape, dtype, random):
    m, n = shape
    return space(
        z=random.normal(0, 3, shape).astype(dtype), y=random.integers(0, n, m),
        p=random.dirichlet(np.ones(n), m).astype(dtype).reshape(shape), out=blank(shape, dtype), rows=blank(m, dtype),
        answer=blank(2, dtype), scratch=blank(book.probability_scratch(4, m), dtype),
    )  # fmt: skip


def bound_softmax(args, u):
    n, reach = args.z.shape[1], args.z.max(axis=1, keepdims=True) - args.z.min(axis=1, keepdims=True)
    return reference.softmax(args.z) * (gamma(n + 8, u) + 2 * u * reach)


def ours_softmax(args):
    call(book.softmax, args, args.z, args.out, args.scratch)
    return (args.out,)


add(
    "book.softmax", classes, build_classes, ours_softmax, lambda args: (reference.softmax(args.z),),
    lambda args, u: (bound_softmax(args, u),),
)  # fmt: skip


def clipped(p):
    return np.clip(p, CLIP, 1 - CLIP)


def own(args, p):
    return p[np.arange(len(p)), args.y]


def mean(rows):
    return np.array(rows.sum() / max(len(rows), 1))


def ours_cross_entropy(args):
    call(book.cross_entropy, args, args.z, args.y, args.out, args.answer, args.scratch)
    assert args.answer[1] == -1
    return args.out, np.array(args.answer[0])


def twin_cross_entropy(args):
    p = reference.softmax(args.z)
    return p, mean(-np.log(clipped(own(args, p))))


def bound_cross_entropy(args, u):
    # As that of `losses.softmax_cross_entropy`; the ends of the clip are rounded, too.
    reach = args.z.max(axis=1) - args.z.min(axis=1)
    rows = gamma(args.z.shape[1] + 10, u) * (1 + 3 * reach + np.log(args.z.shape[1]))
    return bound_softmax(args, u), mean(rows) + 2 * u


add(
    "book.cross_entropy", classes, build_classes, ours_cross_entropy, twin_cross_entropy, bound_cross_entropy
)  # fmt: skip


def ours_joint_gradient(args):
    call(book_labels.cross_entropy_gradient, args, args.p, args.y, args.out, args.answer)
    return (args.out,)


def hard(args):
    return reference.one_hot(args.y, args.p.shape[1])


add(
    "book_labels.cross_entropy_gradient", classes, build_classes, ours_joint_gradient,
    lambda args: ((args.p - hard(args)) / max(len(args.p), 1),),
    lambda args, u: (gamma(4, u) * (args.p + hard(args)) / max(len(args.p), 1),),
)  # fmt: skip


def ours_log_loss(args):
    call(book_labels.clipped_log_loss, args, args.p, args.y, args.rows, args.answer)
    return args.rows, np.array(args.answer[0])


def twin_log_loss(args):
    rows = -np.log(clipped(own(args, args.p)))
    return rows, mean(rows)


def bound_log_loss(args, u):
    rows = 2 * ULP["log"] * u * twin_log_loss(args)[0] + 2 * u
    return rows, mean(rows) + gamma(len(rows) + 1, u) * twin_log_loss(args)[1]


def ours_log_loss_gradient(args):
    call(book_labels.log_loss_gradient, args, args.p, args.y, args.out, args.answer)
    return (args.out,)


def twin_log_loss_gradient(args):
    return (-hard(args) / args.p / max(len(args.p), 1),)


add(
    "book_labels.clipped_log_loss", classes, build_classes, ours_log_loss, twin_log_loss, bound_log_loss
)  # fmt: skip
add(
    "book_labels.log_loss_gradient", classes, build_classes, ours_log_loss_gradient, twin_log_loss_gradient,
    lambda args, u: (gamma(3, u) * np.abs(twin_log_loss_gradient(args)[0]),),
)  # fmt: skip

# Losses of values.

KINDS = {
    "binary": (book_values.BINARY_CROSS_ENTROPY, nnfs_numpy.Loss_BinaryCrossentropy),
    "squared": (book_values.SQUARED_ERROR, nnfs_numpy.Loss_MeanSquaredError),
    "absolute": (book_values.ABSOLUTE_ERROR, nnfs_numpy.Loss_MeanAbsoluteError),
}


def add_values(name):
    code, kind = KINDS[name]

    def build(shape, dtype, random):
        p, t = random.uniform(0.01, 0.99, shape), random.uniform(0, 1, shape)
        t = t.round() if name == "binary" else t
        return space(p=p.astype(dtype), t=t.astype(dtype), d=blank(shape, dtype), rows=blank(shape[0], dtype))

    def ours(args):
        call(book_values.value_loss, args, code, args.p, args.t, args.rows)
        return (args.rows,)

    def ours_gradient(args):
        call(book_values.value_gradient, args, code, args.p, args.t, args.d)
        return (args.d,)

    def twin(args):
        return (kind().forward(args.p, args.t),)

    def twin_gradient(args):
        loss = kind()
        with np.errstate(all="ignore"):
            loss.backward(args.p, args.t)
        return (loss.dinputs,)

    def bound(args, u):
        # 1 - p is rounded, and the logarithm of it is off by as much as that, relative to 1 - p.
        rounded = 2 * u * ((1 - args.t) / (1 - args.p)).mean(axis=1) if name == "binary" else 0.0
        terms = twin(args)[0] if name != "absolute" else (np.abs(args.p) + np.abs(args.t)).mean(axis=1)
        return (gamma(args.p.shape[1] + 8, u) * terms + rounded,)

    add(f"book_values.value_loss[{name}]", matrices, build, ours, twin, bound)
    add(
        f"book_values.value_gradient[{name}]", matrices, build, ours_gradient, twin_gradient,
        lambda args, u: (gamma(8, u) * np.abs(twin_gradient(args)[0]),),
    )  # fmt: skip


for _name in KINDS:
    add_values(_name)

# Layers.


def build_layer(shape, dtype, random):
    m, k, n = shape
    draw = lambda *s: random.normal(size=s).astype(dtype)  # noqa: E731
    return space(
        x=draw(m, k), w=draw(k, n), b=draw(1, n), dz=draw(m, n), y=blank((m, n), dtype), dx=blank((m, k), dtype),
        dw=blank((k, n), dtype), db=blank((1, n), dtype), none=np.empty((0, 0), dtype),
        scratch=blank(book_layers.dense_scratch(m, k, n, dtype.itemsize, 4), dtype),
    )  # fmt: skip


def layers(size):
    few = [shape for n in range(1, 5) for shape in ((size, n, 70), (35, n, size), (size, 70, n), (35, size, n))]
    return [shape for shape in [*triples(size), *few] if shape[2] > 0 and shape[1] > 0]


def ours_layer_forward(args):
    call(book_layers.layer_forward, args, args.x, args.w, args.b, args.y, args.scratch)
    return (args.y,)


def bound_layer_forward(args, u):
    return (gamma(args.x.shape[1] + 1, u) * (np.abs(args.x) @ np.abs(args.w) + np.abs(args.b)),)


def ours_layer_backward(args):
    call(book_layers.layer_backward, args, args.x, args.dz, args.w, args.dw, args.db, args.dx, args.scratch)
    return args.dw, args.db, args.dx


def twin_layer_backward(args):
    return args.x.T @ args.dz, args.dz.sum(axis=0, keepdims=True), args.dz @ args.w.T


def bound_layer_backward(args, u):
    g, x, dz = gamma(max(len(args.x), 1), u), np.abs(args.x), np.abs(args.dz)
    return g * (x.T @ dz), g * dz.sum(axis=0, keepdims=True), gamma(dz.shape[1], u) * (dz @ np.abs(args.w).T)


def ours_layer_inputs(args):
    call(book_layers.layer_inputs, args, args.dz, args.w, args.dx, args.scratch)
    return (args.dx,)


add(
    "book_layers.layer_forward", layers, build_layer, ours_layer_forward,
    lambda args: (args.x @ args.w + args.b,), bound_layer_forward,
)  # fmt: skip
add(
    "book_layers.layer_backward", layers, build_layer, ours_layer_backward, twin_layer_backward, bound_layer_backward
)  # fmt: skip
add(
    "book_layers.layer_inputs", layers, build_layer, ours_layer_inputs, lambda args: twin_layer_backward(args)[2:],
    lambda args, u: bound_layer_backward(args, u)[2:],
)  # fmt: skip


def add_update(name, kind, scalars):
    update, slots, settings = reference.OPTIMIZERS[name]

    def build(shape, dtype, random):
        k, n = shape
        args = space(scalars=scalars, none=np.empty((0, 0), dtype))
        for part, size in (("w", (k, n)), ("b", (1, n))):
            for field in ("p", "g", "s1"):
                setattr(args, part + field, random.normal(size=size).astype(dtype))
            setattr(args, f"{part}s2", np.abs(random.normal(size=size)).astype(dtype) if slots > 1 else args.none)
        return args

    def results(args):
        return tuple(getattr(args, part + field) for part in "wb" for field in ("p", "s1", "s2")[: slots + 1])

    def ours(args):
        call(
            book_layers.layer_update, args, kind, args.wp, args.bp, args.wg, args.bg, args.ws1, args.ws2, args.bs1,
            args.bs2, args.scalars,
        )  # fmt: skip
        return results(args)

    def twin(args):
        for part in "wb":
            p, g, s1, s2 = (getattr(args, part + field) for field in ("p", "g", "s1", "s2"))
            update(p, g, [s1, s2, s2], NUMBER, LEARNING_RATE, **settings)
        return results(args)

    def bound(args, u):
        # See the optimisers in `registry`: the update with all signs alike gives the sizes of the terms.
        sizes = [np.zeros_like(part) for part in results(args)]
        for sign in (1, -1):
            same = wide(args)
            for part in "wb":
                setattr(same, f"{part}p", np.zeros_like(getattr(args, f"{part}p")))
                setattr(same, f"{part}g", sign * np.abs(getattr(args, f"{part}g")))
                setattr(same, f"{part}s1", np.abs(getattr(args, f"{part}s1")))
            sizes = [np.maximum(size, np.abs(part)) for size, part in zip(sizes, twin(same), strict=True)]
        step = slots + 1
        sizes[0], sizes[step] = sizes[0] + np.abs(args.wp), sizes[step] + np.abs(args.bp)
        return tuple(20 * u * size for size in sizes)

    shapes = lambda size: [(max(size, 1), 3), (5, max(size, 1))]  # noqa: E731
    add(f"book_layers.layer_update[{name}]", shapes, build, ours, twin, bound)


def _scalars(*values):
    row = np.zeros(8)
    row[: len(values)] = values
    return row


_settings = reference.OPTIMIZERS["adam"][2]
_b1, _b2 = _settings["beta_1"], _settings["beta_2"]
add_update("momentum", optim.MOMENTUM, _scalars(LEARNING_RATE, reference.OPTIMIZERS["momentum"][2]["momentum"]))
add_update(
    "adam",
    optim.ADAM,
    _scalars(
        LEARNING_RATE / (1 - _b1 ** (NUMBER + 1)),
        _b1,
        1 - _b1,
        _b2,
        1 - _b2,
        1 / (1 - _b2 ** (NUMBER + 1)),
        _settings["eps"],
    ),  # fmt: skip
)

# Whole networks.


class BookNetwork(OneHidden):
    """A step of `fastnn.nnfs.Model`, compiled."""

    def ours_train(self, args):
        import fastnn.nnfs as nnfs
        from fastnn.nnfs._compiled import CompiledTraining

        model = nnfs.Model()
        first, last = nnfs.Layer_Dense(*args.w1.shape), nnfs.Layer_Dense(*args.w2.shape)
        for layer, w, b in ((first, args.w1, args.b1), (last, args.w2, args.b2)):
            layer.set_parameters(w, b.reshape(1, -1))
        for layer in (first, nnfs.Activation_ReLU(), last, nnfs.Activation_Softmax()):
            model.add(layer)
        model.set(
            loss=nnfs.Loss_CategoricalCrossentropy(), optimizer=nnfs.Optimizer_SGD(LEARNING_RATE),
            accuracy=nnfs.Accuracy_Categorical(),
        )  # fmt: skip
        model.finalize()
        with contextlib.redirect_stdout(io.StringIO()):
            run = CompiledTraining(model, args.x, args.y, len(args.x))
            records, _ = run.run(0, 1)
            run.release()
        return np.array(records[0, 0] / len(args.x)), args.w1, args.b1, args.w2, args.b2


_book = BookNetwork("relu")
add("book_train.run_book", networks, _book.build, _book.ours_train, _book.twin_train, _book.bound_train, False)
add(
    "book_train.run_book_narrow", narrow_networks, _book.build, _book.ours_train, _book.twin_train, _book.bound_train,
    False,
)  # fmt: skip
