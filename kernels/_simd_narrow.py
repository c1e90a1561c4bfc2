"""Two narrow layers at once, with a hidden ReLU layer between them that is never stored: forward and back.

At most `NARROW` inputs and outputs are unrolled, one variant for each pair of widths. Sums are the chains of
`_simd.tile`, fused multiply-adds in increasing index.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._simd import _REGISTERS, NARROW, _like, _loop, _opaque, _relu, _splat
from ._simd_few import _Emitter, _number, _variants

# Samples whose inputs and gradients lie in the first-level cache in whole registers (32 and 128: 0.97).
_SPREAD_ROWS = 64
SPREAD_SIZE = _SPREAD_ROWS * 2 * NARROW * 8 if _REGISTERS == 16 else 0
"""Elements of `narrow_backward`'s room."""


def _by_shape(vec, emit):
    """Emit one variant for each pair of narrow widths behind a switch on the first two integer arguments."""

    def codegen(context, builder, sig, args):
        base, widths = NARROW + 1, range(1, NARROW + 1)
        which = builder.add(builder.mul(args[0], _number(base)), args[1])
        pairs = [n_in * base + n_out for n_in in widths for n_out in widths]
        for pair in _variants(builder, which, pairs, "narrow"):
            emit(_Emitter(context, builder, vec), args[2:], *divmod(pair, base))
        return context.get_dummy_value()

    return codegen


@intrinsic
def narrow_forward(typingctx, n_in, n_out, m, hidden, x, x_row, w1, b1, w2, b2, z, z_row):
    """Run a network of two dense layers with ReLU between, lanes along the samples.

    `z[c, s] = b2[c] + sum_h relu(b1[h] + sum_k x[k, s] w1[k, h]) w2[h, c]` for `s < m`, sums in increasing index.
    All arrays are pointers; `x` and `z` hold a feature's samples together, rows `x_row` and `z_row` apart, and are read
    and written up to four registers of samples behind the last one (of three at a time, 64 samples end in 96).
    """
    vec = _like(z)

    def emit(e, args, n_in, n_out):
        m, hidden, x, x_row, w1, b1, w2, b2, z, z_row = args
        builder = e.builder
        # Of 16 registers none is left to the inputs, which come from memory.
        kept = _REGISTERS == 32
        wide = max(1, min(4, (_REGISTERS - 4) // (n_in * kept + n_out + 1)))
        s, next_samples = _loop(builder, m, wide * e.n, "samples")
        rows = [e.at(x, e.times(x_row, k), s) for k in range(n_in)]
        inputs = [[e.load(e.at(row, v * e.n)) for v in range(wide)] for row in rows]
        cells = [cgutils.alloca_once(builder, x.type) for _ in rows]
        for cell, row in zip(cells, rows, strict=True):
            builder.store(row, cell)
        sums = e.cells(n_out, wide, [e.spread(e.at(b2, c)) for c in range(n_out)])
        h, next_hidden = _loop(builder, hidden, 1, "hidden")
        total = [e.spread(e.at(b1, h))] * wide
        for k in range(n_in):
            if not kept:
                # A pointer that changes, to LLVM's eyes: what it points to is not kept from step to step.
                row = _opaque(builder, builder.load(cells[k]))
                builder.store(row, cells[k])
                inputs[k] = [e.load(e.at(row, v * e.n)) for v in range(wide)]
            weight = e.spread(e.at(w1, e.times(hidden, k), h))
            total = [e.fused(value, weight, t) for value, t in zip(inputs[k], total, strict=True)]
        total = [_relu(builder, t, e.zero) for t in total]
        for c in range(n_out):
            weight = e.spread(e.at(w2, e.times(h, n_out), c))
            for v in range(wide):
                e.add_product(sums[c][v], total[v], weight)
        next_hidden()
        for c in range(n_out):
            for v in range(wide):
                e.store(builder.load(sums[c][v]), e.at(z, e.times(z_row, c), s, v * e.n))
        next_samples()

    i = types.intp
    return types.void(i, i, i, i, x, i, w1, b1, w2, b2, z, i), _by_shape(vec, emit)


class _Sums:
    """The chains of `narrow_backward` over the samples for `wide` registers of hidden units, and the biases' own."""

    def __init__(self, e, n_in, n_out, wide):
        self.e, self.n_in = e, n_in
        self.cells = e.cells(n_in + 1 + n_out, wide)
        # The outputs' biases ride along: alone they would be chains that wait on their own latency.
        self.outer = [cgutils.alloca_once(e.builder, e.vty.element) for _ in range(n_out)]

    def clear_outer(self):
        for cell in self.outer:
            self.e.builder.store(ir.Constant(self.e.vty.element, 0.0), cell)

    def add_outer(self, values):
        builder = self.e.builder
        for value, cell in zip(values, self.outer, strict=True):
            builder.store(builder.fadd(builder.load(cell), value), cell)

    def clear(self):
        for row in self.cells:
            for cell in row:
                self.e.builder.store(self.e.zero, cell)

    def add(self, v, bias, weights, values, again):
        """Add what a sample gives to the chains of register `v`.

        `values` are its inputs and its outputs' gradients; `again` are the same, for the second time they are used.
        """
        e, builder, n_in = self.e, self.e.builder, self.n_in
        total, back = bias, e.zero
        for k in range(n_in):
            total = e.fused(values[k], weights[k], total)
        for c in range(n_in, len(values)):
            back = e.fused(values[c], weights[c], back)
        back = builder.select(builder.fcmp_ordered(">", total, e.zero), back, e.zero)
        out = _relu(builder, total, e.zero)
        for k in range(n_in):
            e.add_product(self.cells[k][v], again[k], back)
        of_bias = self.cells[n_in][v]
        builder.store(builder.fadd(builder.load(of_bias), back), of_bias)
        for c in range(n_in, len(values)):
            e.add_product(self.cells[c + 1][v], again[c], out)


def _back_in_registers(e, args, n_in, n_out):
    """Emit `narrow_backward` for many registers: a sample's values are spread for four of hidden units."""
    m, hidden, x, x_row, w1, b1, w2t, w2t_row, dz, dz_row, dw1, db1, dw2t, db2, _ = args
    builder = e.builder
    wide = max(1, min(4, (_REGISTERS - 6) // (n_in + n_out + 1)))
    h, next_units = _loop(builder, hidden, wide * e.n, "units")
    sums = _Sums(e, n_in, n_out, wide)
    sums.clear()
    sums.clear_outer()
    first = [e.at(w1, e.times(hidden, k), h) for k in range(n_in)]
    first += [e.at(w2t, e.times(w2t_row, c), h) for c in range(n_out)]
    s, next_sample = _loop(builder, m, 1, "samples")
    xs = [e.spread(e.at(x, e.times(x_row, k), s)) for k in range(n_in)]
    ds = [builder.load(e.at(dz, e.times(dz_row, c), s)) for c in range(n_out)]
    sums.add_outer(ds)
    values = xs + [_splat(builder, value, e.n) for value in ds]
    for v in range(wide):
        weights = [e.load(e.at(pointer, v * e.n)) for pointer in first]
        sums.add(v, e.load(e.at(b1, h, v * e.n)), weights, values, values)
    next_sample()
    targets = [*(e.at(dw1, e.times(hidden, k), h) for k in range(n_in)), e.at(db1, h)]
    targets += [e.at(dw2t, e.times(w2t_row, c), h) for c in range(n_out)]
    for v in range(wide):
        some = e.some(builder.sub(hidden, builder.add(h, _number(v * e.n))))
        for row, target in zip(sums.cells, targets, strict=True):
            e.store(builder.load(row[v]), e.at(target, v * e.n), some)
    for c, cell in enumerate(sums.outer):
        builder.store(builder.load(cell), e.at(db2, c))
    next_units()


def _back_from_memory(e, args, n_in, n_out):
    """Emit `narrow_backward` for few registers: blocks of samples are spread in memory, once for all hidden units.

    As operands in memory they take no instruction of their own (2-64-3 on Zen 3: 19 instructions a sample and register
    instead of 30 to 36, a step 1.4 times as fast; two samples at a time: 0.98).
    """
    m, hidden, x, x_row, w1, b1, w2t, w2t_row, dz, dz_row, dw1, db1, dw2t, db2, room = args
    builder, size = e.builder, (n_in + n_out) * e.n
    sums = _Sums(e, n_in, n_out, 1)
    sums.clear_outer()
    first, next_block = _loop(builder, m, _SPREAD_ROWS, "block")
    left, most = builder.sub(m, first), _number(_SPREAD_ROWS)
    rows = builder.select(builder.icmp_signed("<", left, most), left, most)

    s, next_sample = _loop(builder, rows, 1, "spread")
    sources = [e.at(x, e.times(x_row, k), first, s) for k in range(n_in)]
    sources += [e.at(dz, e.times(dz_row, c), first, s) for c in range(n_out)]
    values = [builder.load(source) for source in sources]
    for i, value in enumerate(values):
        e.store(_splat(builder, value, e.n), e.at(room, e.times(s, size), i * e.n))
    sums.add_outer(values[n_in:])
    next_sample()

    # Two pointers to one place, or LLVM would see that values are read twice, and keep them: there is no register left.
    rooms = [_opaque(builder, room) for _ in range(2)]
    h, next_units = _loop(builder, hidden, e.n, "units")
    some = e.some(builder.sub(hidden, h))
    targets = [*(e.at(dw1, e.times(hidden, k), h) for k in range(n_in)), e.at(db1, h)]
    targets += [e.at(dw2t, e.times(w2t_row, c), h) for c in range(n_out)]
    sums.clear()
    with builder.if_then(builder.icmp_signed(">", first, _number(0))):
        for (cell,), target in zip(sums.cells, targets, strict=True):
            builder.store(e.load(target, some), cell)
    bias = e.load(e.at(b1, h))
    weights = [e.load(e.at(w1, e.times(hidden, k), h)) for k in range(n_in)]
    weights += [e.load(e.at(w2t, e.times(w2t_row, c), h)) for c in range(n_out)]
    place, next_sample = _loop(builder, e.times(rows, size), size, "samples")
    once, again = ([e.load(e.at(p, place, i * e.n)) for i in range(n_in + n_out)] for p in rooms)
    sums.add(0, bias, weights, once, again)
    next_sample()
    for (cell,), target in zip(sums.cells, targets, strict=True):
        e.store(builder.load(cell), target, some)
    next_units()
    next_block()
    for c, cell in enumerate(sums.outer):
        builder.store(builder.load(cell), e.at(db2, c))


@intrinsic
def narrow_backward(
    typingctx, n_in, n_out, m, hidden, x, x_row, w1, b1, w2t, w2t_row, dz, dz_row, dw1, db1, dw2t, db2, room
):  # fmt: skip
    """Go back through the network of `narrow_forward`, lanes along the hidden units.

    With `a = relu(b1 + x w1)`, computed again, and `d[s, h] = [a > 0] sum_c dz[c, s] w2t[c, h]`:
    `dw1[k, h] = sum_s x[k, s] d[s, h]`, `db1[h] = sum_s d[s, h]`, `dw2t[c, h] = sum_s dz[c, s] a[s, h]`,
    `db2[c] = sum_s dz[c, s]`, sums in increasing index.
    Parameters may be read up to four registers behind their end; rows of `w2t` and `dw2t` are `w2t_row` apart. `room`
    holds `SPREAD_SIZE` elements.
    """
    vec, i = _like(dz), types.intp
    emit = _back_in_registers if _REGISTERS == 32 else _back_from_memory
    sig = types.void(i, i, i, i, x, i, w1, b1, w2t, i, dz, i, dw1, db1, dw2t, db2, room)
    return sig, _by_shape(vec, emit)
