"""Every kernel that Python calls, beside its reference: what the parity tests and the benchmarks both take.

`ENTRIES` maps a name to an `Entry`; `registry_base` says what that is, and where the bounds come from.
"""

import numpy as np
import reference
from registry_base import ENTRIES, ULP, add, blank, call, gamma, matrices, space, triples, vectors, wide
from registry_networks import OneHidden, narrow_networks, networks

import fastnn as fnn
from fastnn.kernels import activations, dropout, gemm, labels, losses, math, optim, order, panels, peak, penalties, rng
from fastnn.kernels._simd import VECTOR_BYTES

__all__ = ["ENTRIES", "wide"]

SEED, STREAM, STEP = 0x0123456789ABCDEF, 2, 7
LEARNING_RATE, NUMBER = 0.05, 3  # of the optimiser's step that is compared

# Functions of whole arrays.

TWINS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": reference.sigmoid}


def add_math(name):
    def build(shape, dtype, random):
        x = random.uniform(0.01, 9.0, shape) if name == "log" else random.normal(0, 4, shape)
        return space(x=x.astype(dtype), out=blank(shape, dtype))

    def ours(args):
        call(getattr(math, name), args, args.x, args.out)
        return (args.out,)

    add(
        f"math.{name}",
        vectors,
        build,
        ours,
        lambda args: (TWINS[name](args.x),),
        lambda args, u: (2 * ULP[name] * u * np.abs(TWINS[name](args.x)),),
    )


for _name in ULP:
    add_math(_name)

# Activations.

CODES = {"linear": gemm.LINEAR, "relu": gemm.RELU, "sigmoid": gemm.SIGMOID, "tanh": gemm.TANH}


def add_activation(name):
    code, (forward, backward) = CODES[name], reference.ACTIVATIONS[name]

    def build(shape, dtype, random):
        x = random.normal(0, 2, shape).astype(dtype)
        return space(x=x, y=forward(x), dy=random.normal(size=shape).astype(dtype), out=blank(shape, dtype))

    def ours_forward(args):
        call(activations.activation_forward, args, args.x, args.out, code)
        return (args.out,)

    def ours_backward(args):
        call(activations.activation_backward, args, args.dy, args.y, args.out, code)
        return (args.out,)

    add(
        f"activations.activation_forward[{name}]",
        vectors,
        build,
        ours_forward,
        lambda args: (forward(args.x),),
        lambda args, u: (2 * ULP.get(name, 0) * u * np.abs(forward(args.x)),),
    )
    # (1 - y) y and 1 - y² round three times, the latter relative to 1 + y².
    add(
        f"activations.activation_backward[{name}]",
        vectors,
        build,
        ours_backward,
        lambda args: (backward(args.dy, args.y),),
        lambda args, u: (gamma(4, u) * np.abs(args.dy) * (1 + args.y**2) * (name in ULP),),
    )


for _name in CODES:
    add_activation(_name)


def build_softmax(shape, dtype, random):
    z, dp = random.normal(0, 3, shape).astype(dtype), random.normal(size=shape).astype(dtype)
    return space(z=z, dp=dp, p=reference.softmax(z), out=blank(shape, dtype))


def ours_softmax(args):
    call(activations.softmax_forward, args, args.z, args.out)
    return (args.out,)


def bound_softmax(args, u):
    # The exponent's rounding is relative to its size; then exp, a sum of positive terms, and a division.
    n, reach = args.z.shape[1], (args.z.max(axis=1, keepdims=True) - args.z).max(axis=1, keepdims=True)
    return (reference.softmax(args.z) * (gamma(n + 8, u) + 2 * u * reach),)


def ours_softmax_backward(args):
    call(activations.softmax_backward, args, args.dp, args.p, args.out)
    return (args.out,)


def bound_softmax_backward(args, u):
    total = (np.abs(args.dp) * args.p).sum(axis=1, keepdims=True)
    return (gamma(args.p.shape[1] + 4, u) * args.p * (np.abs(args.dp) + total),)


add(
    "activations.softmax_forward",
    matrices,
    build_softmax,
    ours_softmax,
    lambda args: (reference.softmax(args.z),),
    bound_softmax,
)
add(
    "activations.softmax_backward",
    matrices,
    build_softmax,
    ours_softmax_backward,
    lambda args: (reference.softmax_backward(args.dp, args.p),),
    bound_softmax_backward,
)

# Products: each element is a sum of as many terms as the extent that is summed over, and a bias.


def build_dense(shape, dtype, random):
    m, k, n = shape
    draw = lambda *s: random.normal(size=s).astype(dtype)  # noqa: E731
    scratch = blank(gemm.scratch_size(max(k, m), n, dtype, 4), dtype)
    return space(
        x=draw(m, k), w=draw(k, n), b=draw(n), dz=draw(m, n), scratch=scratch, y=blank((m, n), dtype),
        dx=blank((m, k), dtype), dw=blank((k, n), dtype), db=blank(n, dtype),
    )  # fmt: skip


def add_dense_forward(name):
    function = reference.ACTIVATIONS[name][0]

    def ours(args):
        call(gemm.dense_forward, args, args.x, args.w, args.b, args.y, CODES[name], args.scratch)
        return (args.y,)

    def bound(args, u):
        # No activation here is steeper than 1; its own error comes on top.
        terms = np.abs(args.x) @ np.abs(args.w) + np.abs(args.b)
        y = function(reference.dense(args.x, args.w, args.b))
        return (gamma(args.x.shape[1] + 1, u) * terms + 2 * ULP.get(name, 0) * u * np.abs(y),)

    add(
        f"gemm.dense_forward[{name}]",
        triples,
        build_dense,
        ours,
        lambda args: (function(reference.dense(args.x, args.w, args.b)),),
        bound,
    )


for _name in CODES:
    add_dense_forward(_name)


def ours_backward_inputs(args):
    call(gemm.dense_backward_inputs, args, args.dz, args.w, args.dx, args.scratch)
    return (args.dx,)


def ours_backward_weights(args):
    call(gemm.dense_backward_weights, args, args.x, args.dz, args.dw, args.db, args.scratch)
    return args.dw, args.db


def bound_backward_weights(args, u):
    g, x, dz = gamma(max(len(args.x), 1), u), np.abs(args.x), np.abs(args.dz)
    return g * (x.T @ dz), g * dz.sum(axis=0)


add(
    "gemm.dense_backward_inputs",
    triples,
    build_dense,
    ours_backward_inputs,
    lambda args: (args.dz @ args.w.T,),
    lambda args, u: (gamma(max(args.dz.shape[1], 1), u) * (np.abs(args.dz) @ np.abs(args.w).T),),
)
add(
    "gemm.dense_backward_weights",
    triples,
    build_dense,
    ours_backward_weights,
    lambda args: (args.x.T @ args.dz, args.dz.sum(axis=0)),
    bound_backward_weights,
)


def add_matmul(form):
    """`shape` is (m, k, n) of the product, k being summed over."""
    turn_a, turn_b = form == "tn", form == "nt"

    def build(shape, dtype, random):
        m, k, n = shape
        a = random.normal(size=(k, m) if turn_a else (m, k)).astype(dtype)
        b = random.normal(size=(n, k) if turn_b else (k, n)).astype(dtype)
        scratch = blank(gemm.scratch_size(max(m, k), max(k, n), dtype, 4), dtype)
        return space(a=a, b=b, c=blank((m, n), dtype), scratch=scratch)

    def ours(args):
        call(gemm.matmul, args, args.a, args.b, args.c, ("nn", "nt", "tn").index(form), args.scratch)
        return (args.c,)

    def factors(args):
        return args.a.T if turn_a else args.a, args.b.T if turn_b else args.b

    def bound(args, u):
        a, b = factors(args)
        return (gamma(max(len(b), 1), u) * (np.abs(a) @ np.abs(b)),)

    add(f"gemm.matmul[{form}]", triples, build, ours, lambda args: (np.matmul(*factors(args)),), bound)


for _name in ("nn", "nt", "tn"):
    add_matmul(_name)

# Losses.


def add_cross_entropy(variant):
    smoothing = 0.1 if variant == "smoothed" else 0.0

    def build(shape, dtype, random):
        m, n = shape
        soft = random.dirichlet(np.ones(n), m).astype(dtype) if variant == "soft" else np.empty((0, 0), dtype)
        numbers = random.integers(0, n, m)
        return space(
            z=random.normal(0, 3, shape).astype(dtype), labels=numbers, held=numbers.astype(dtype), soft=soft,
            dz=blank(shape, dtype), rows=blank(m, dtype), hits=blank(m, dtype),
            scratch=blank(losses.scratch_size(n, 4), dtype),
        )  # fmt: skip

    def targets(args):
        if variant == "soft":
            return args.soft
        hard = reference.one_hot(args.labels, args.z.shape[1], args.z.dtype)
        return reference.smoothed(hard, smoothing) if smoothing else hard

    def ours(args):
        call(
            losses.softmax_cross_entropy, args, args.z, args.held, args.soft, smoothing, args.dz, args.rows,
            args.hits, args.scratch,
        )  # fmt: skip
        return args.rows, args.dz, args.hits

    def twin(args):
        q = targets(args)
        rows, dz = reference.softmax_cross_entropy(args.z, q)
        if variant == "soft":
            # Targets that were rounded add up to one only nearly; the kernel's gradient is of what they are.
            dz = dz + reference.softmax(args.z) * (q.sum(axis=1, keepdims=True) - 1) / max(len(q), 1)
        hits = (args.z.argmax(axis=1) == q.argmax(axis=1)).astype(args.z.dtype)
        return rows, dz, hits

    def bound(args, u):
        # log Σ exp is off by the sum's relative error and the logarithm's own; everything else is at most as
        # far from the largest logit as `reach`, and is multiplied by at most 1.
        m, n = args.z.shape
        reach = (args.z.max(axis=1) - args.z.min(axis=1))[:, None]
        g = gamma(n + 10, u) * (1 + 3 * reach + np.log(n))
        return g[:, 0], g * (reference.softmax(args.z) + targets(args)) / max(m, 1), np.zeros(m)

    def ours_labelled(args):
        out, room = np.full(2, np.nan), blank(labels.scratch_size(*args.z.shape, 4), args.z.dtype)
        call(
            labels.labelled_cross_entropy, args, args.z, args.labels, smoothing, args.dz, args.rows, args.hits,
            room, out,
        )  # fmt: skip
        assert out[1] == 0
        return args.rows, args.dz, args.hits, out[:1]

    def twin_labelled(args):
        rows, *others = twin(args)
        return rows, *others, np.array([rows.mean(dtype=np.float64) if rows.size else 0.0])

    def bound_labelled(args, u):
        rows, *others = bound(args, u)
        # The sum of so many in float64.
        rounding = gamma(len(rows) + 8, np.finfo(np.float64).eps) * np.abs(twin(args)[0])
        return rows, *others, np.array([(rows + rounding).mean() if rows.size else 0.0])

    shapes = lambda size: [(size, 3), (5, max(size, 2))]  # noqa: E731
    add(f"losses.softmax_cross_entropy[{variant}]", shapes, build, ours, twin, bound)
    if variant != "soft":
        name = f"labels.labelled_cross_entropy[{variant}]"
        add(name, shapes, build, ours_labelled, twin_labelled, bound_labelled)


for _name in ("labels", "smoothed", "soft"):
    add_cross_entropy(_name)


def build_squared_error(shape, dtype, random):
    m, z, t = shape[0], random.normal(size=shape).astype(dtype), random.normal(size=shape).astype(dtype)
    return space(z=z, t=t, dz=blank(shape, dtype), rows=blank(m, dtype), hits=blank(m, dtype))


def ours_squared_error(args):
    call(losses.mean_squared_error, args, args.z, args.t, args.dz, args.rows, args.hits)
    return args.rows, args.dz


def bound_squared_error(args, u):
    rows, dz = reference.mean_squared_error(args.z, args.t)
    return gamma(args.z.shape[1] + 4, u) * rows, gamma(4, u) * np.abs(dz)


add(
    "losses.mean_squared_error",
    matrices,
    build_squared_error,
    ours_squared_error,
    lambda args: reference.mean_squared_error(args.z, args.t),
    bound_squared_error,
)

# Optimisers.

OPTIMIZERS = {
    "sgd": fnn.SGD(LEARNING_RATE),
    "momentum": fnn.SGD(LEARNING_RATE, momentum=0.9),
    "nesterov": fnn.SGD(LEARNING_RATE, momentum=0.9, nesterov=True),
    "adagrad": fnn.AdaGrad(LEARNING_RATE),
    "adagrad_inside": fnn.AdaGrad(LEARNING_RATE, epsilon_inside=True),
    "rmsprop": fnn.RMSprop(LEARNING_RATE),
    "rmsprop_inside": fnn.RMSprop(LEARNING_RATE, epsilon_inside=True),
    "adam": fnn.Adam(LEARNING_RATE),
    "amsgrad": fnn.Adam(LEARNING_RATE, amsgrad=True),
    "adamw": fnn.AdamW(LEARNING_RATE),
    "lion": fnn.Lion(LEARNING_RATE, weight_decay=0.01),
}


def add_optimizer(name):
    optimizer, (update, slots, settings) = OPTIMIZERS[name], reference.OPTIMIZERS[name]
    # The state holds means of gradients first and then of their squares, which are not negative.
    first_square = 0 if name.startswith(("adagrad", "rmsprop")) else 1

    def build(shape, dtype, random):
        w, g, *state = (random.normal(size=shape).astype(dtype) for _ in range(5))
        for i in range(first_square, 3):
            state[i] = np.abs(state[i])
        s1, s2, s3 = (s if i < slots else np.empty(0, dtype) for i, s in enumerate(state))
        return space(w=w, g=g, s1=s1, s2=s2, s3=s3, scalars=optimizer.scalars(NUMBER, 1)[0])

    def results(args):
        return (args.w, *(args.s1, args.s2, args.s3)[:slots])

    def ours(args):
        call(optim.update, args, optimizer.kind, args.w, args.g, args.s1, args.s2, args.s3, args.scalars)
        return results(args)

    def twin(args):
        update(args.w, args.g, [args.s1, args.s2, args.s3], NUMBER, LEARNING_RATE, **settings)
        return results(args)

    def bound(args, u):
        # Sums whose terms all have one sign are the sizes of the terms: the update is run with the gradient
        # and the state made so. Twenty roundings are more than any kind has between them and its result, the
        # casts of its numbers and the four of the refined root and reciprocal included.
        before = wide(args)
        sizes = [np.zeros_like(part) for part in results(args)]
        for sign in (1, -1):
            same = wide(args)
            same.w, same.g = np.zeros_like(args.w), sign * np.abs(args.g)
            same.s1, same.s2, same.s3 = np.abs(args.s1), np.abs(args.s2), np.abs(args.s3)
            for i, part in enumerate(twin(same)):
                sizes[i] = np.maximum(sizes[i], np.abs(part))
        sizes[0] += np.abs(args.w)
        found = [20 * u * size for size in sizes]
        if name == "lion":
            # Where the blend all but cancels, its sign may be either.
            old, new = 0.9 * before.s1, 0.1 * before.g
            close = np.abs(old + new) <= 4 * u * (np.abs(old) + np.abs(new))
            found[0] = found[0] + 2 * LEARNING_RATE * close
        return tuple(found)

    add(f"optim.update[{name}]", vectors, build, ours, twin, bound)


for _name in OPTIMIZERS:
    add_optimizer(_name)

L1, L2 = 0.01, 0.02


def build_penalty(shape, dtype, random):
    return space(g=random.normal(size=shape).astype(dtype), w=random.normal(size=shape).astype(dtype))


def ours_penalty(args):
    call(penalties.add_gradient, args, args.g, args.w, L1, L2)
    return (args.g,)


add(
    "penalties.add_gradient",
    vectors,
    build_penalty,
    ours_penalty,
    lambda args: (args.g + reference.penalty_gradient(args.w, L1, L2),),
    lambda args, u: (gamma(4, u) * (np.abs(args.g) + L1 + 2 * L2 * np.abs(args.w)),),
)

# Random numbers: the bits of the generator are compared exactly, through the twins in the tests of `rng`.

RATE = 0.3


def add_dropout(name):
    def build(shape, dtype, random):
        return space(x=random.normal(size=shape).astype(dtype), out=blank(shape, dtype))

    def ours(args):
        call(getattr(dropout, name), args, args.x, args.out, RATE, SEED, STREAM, STEP)
        return (args.out,)

    def twin(args):
        from test_kernels_dropout import kept

        return (args.x * kept(args.x.shape, RATE, SEED, STREAM, STEP) / (1 - RATE),)

    add(f"dropout.{name}", matrices, build, ours, twin, lambda args, u: (gamma(3, u) * np.abs(args.x) / 0.7,))


add_dropout("dropout_forward")
add_dropout("dropout_backward")


def build_draw(shape, dtype, random):
    return space(out=blank(shape, dtype))


def ours_uniform(args):
    call(rng.uniform, args, args.out, -1.0, 3.0, SEED, STREAM, STEP)
    return (args.out,)


def uniform_twin(args):
    from test_kernels_rng import numbers

    return (-1.0 + 4.0 * ((numbers(args.out.size, SEED, STREAM, STEP) >> np.uint64(11)) * 2.0**-53),)


def ours_normal(args):
    call(rng.normal, args, args.out, 1.0, 2.0, SEED, STREAM, STEP)
    return (args.out,)


def normal_twin(args):
    from test_kernels_rng import normal_twin

    return (1.0 + 2.0 * normal_twin(args.out.size, SEED, STREAM, STEP),)


# Computed in float64 and then rounded once. NumPy's cosine of a rounded angle is off by 2π u, times a radius
# of at most 8.6, and the rest of either side by a few u.
add(
    "rng.uniform", vectors, build_draw, ours_uniform, uniform_twin,
    lambda args, u: (np.full(args.out.shape, gamma(4, u) * 4.0),),
)  # fmt: skip
add(
    "rng.normal", vectors, build_draw, ours_normal, normal_twin,
    lambda args, u: (np.full(args.out.shape, gamma(16, u) * 2 * 8.6),),
)  # fmt: skip

# Keys of samples. Sums of whole numbers are exact, so there is one right answer.


def build_row_keys(shape, dtype, random):
    rows, features = shape
    x = np.where(random.random(shape) < 0.5, random.normal(size=shape), 0.0)
    weights = random.integers(-127, 128, (2, features))
    sums = (x == 0) @ weights.T + np.zeros((1, 2))
    # Some sums lie on an edge.
    edges = [np.sort(random.choice(sums[:, i], n - 1)) if rows else np.zeros(n - 1) for i, n in enumerate(BINS)]
    return space(
        x=x.astype(dtype), weights=weights.astype(dtype), edges=np.concatenate(edges),
        order=np.full(order.size(rows, 1), -1, np.int64),
    )  # fmt: skip


def ours_row_keys(args):
    rows = len(args.x)
    call(order.row_keys, args, args.x.reshape(-1), rows, args.weights.reshape(-1), args.edges, args.order)
    return args.order[:rows], args.order[rows : 2 * rows], args.order[2 * rows :]


def row_keys_twin(args):
    rows = len(args.x)
    sums = (args.x == 0) @ args.weights.T
    first, second = (
        np.searchsorted(edges, sums[:, i], "right") for i, edges in enumerate(np.split(args.edges, [BINS[0] - 1]))
    )
    keys = first * BINS[1] + np.where(first % 2 == 0, second, BINS[1] - 1 - second)
    untouched = np.full(args.order.shape, -1)
    return untouched[:rows], keys, untouched[2 * rows :]


BINS = order.FIRST_BINS, order.SECOND_BINS
add(
    "order.row_keys", matrices, build_row_keys, ours_row_keys, row_keys_twin,
    lambda args, u: tuple(np.zeros(n) for n in (len(args.x), len(args.x), args.order.size - 2 * len(args.x))),
)  # fmt: skip

# The probes of the machine's speed: their results are thrown away, and right all the same.

STEPS = 3


def build_multiply_add(shape, dtype, random):
    return space(values=random.uniform(0.1, 0.9, 4 * 256).astype(dtype), lanes=VECTOR_BYTES // dtype.itemsize)


def ours_multiply_add(args):
    call(peak.multiply_add, args, args.values, STEPS)
    return (args.values,)


def multiply_add_twin(args):
    values, n = args.values.copy(), args.lanes
    for worker in range(args.workers):
        a0, a1, a2, a3, c, d = values[256 * worker :][: 6 * n].reshape(6, n)
        total = a0 + a1 + a2 + a3
        for _ in range(STEPS):
            total = total * c + 4 * d
        values[256 * worker :][:n] = 3 * total
    return (values,)


def build_triad(shape, dtype, random):
    b, c = random.normal(size=shape).astype(dtype), random.normal(size=shape).astype(dtype)
    return space(a=blank(shape, dtype), b=b, c=c)


def ours_triad(args):
    call(peak.triad, args, args.a, args.b, args.c)
    return (args.a,)


# All terms are positive: twelve chains of so many steps, and a sum of twelve.
add(
    "peak.multiply_add", vectors, build_multiply_add, ours_multiply_add, multiply_add_twin,
    lambda args, u: (gamma(STEPS + 12, u) * multiply_add_twin(args)[0],), False,
)  # fmt: skip
add(
    "peak.triad", vectors, build_triad, ours_triad, lambda args: (args.b + 3 * args.c,),
    lambda args, u: (gamma(2, u) * (np.abs(args.b) + 3 * np.abs(args.c)),),
)  # fmt: skip

# Weights in panels.


def _arrays_to_arrange(shape, dtype, random):
    k, n = shape
    at, width = 3, panels.panel_width(dtype.itemsize)
    params, state = (random.normal(size=at + k * n + 5).astype(dtype) for _ in range(2))
    return space(params=params, state=state, at=at, k=k, n=n, width=width)


def _arrange(args):
    places, none = np.array([[args.at, args.k, args.n]]), args.params[:0]
    room = blank(args.k * args.n, args.params.dtype)
    call(panels.rearrange, args, args.params, args.state, none, none, places, room, np.zeros(1, np.int64), True)
    return args.params, args.state


def _arranged(args):
    results = []
    for array in (args.params, args.state):
        end = args.at + args.k * args.n
        weights = array[args.at : end].reshape(args.k, args.n)
        laid = [weights[:, j : j + args.width].reshape(-1) for j in range(0, args.n, args.width)]
        results.append(np.concatenate([array[: args.at], *laid, array[end:]]))
    return tuple(results)


add(
    "panels.rearrange",
    matrices,
    _arrays_to_arrange,
    _arrange,
    _arranged,
    lambda args, u: (0.0, 0.0),
)

# Whole networks.

_tanh, _relu = OneHidden("tanh"), OneHidden("relu")
add("predict.predict", networks, _tanh.build, _tanh.ours_predict, _tanh.twin_predict, _tanh.bound_predict, False)
add(
    "predict.evaluate", networks, _tanh.build, _tanh.ours_evaluate, _tanh.twin_evaluate, _tanh.bound_evaluate,
    False,
)  # fmt: skip
add("train.run_chunk", networks, _tanh.build, _tanh.ours_train, _tanh.twin_train, _tanh.bound_train, False)
add(
    "narrow.run_narrow", narrow_networks, _relu.build, _relu.ours_train, _relu.twin_train, _relu.bound_train,
    False,
)  # fmt: skip
add("many.run_many", networks, _tanh.build, _tanh.ours_many, _tanh.twin_many, _tanh.bound_many, False)

import registry_nnfs  # noqa: E402, F401  (its entries join ENTRIES)
