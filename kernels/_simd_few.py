"""Dense layers with few inputs or few outputs, a layer a call: what `_simd` has no tile for.

A layer of at most `NARROW` inputs or outputs fills no register with them. Here the vectors run along the layer's other
side, or along the samples, and what is small is unrolled: one variant for each width. Sums are the chains of
`_simd.tile`, fused multiply-adds in increasing index.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._simd import (
    _REGISTERS,
    NARROW,
    _call,
    _like,
    _load,
    _loop,
    _masked_load,
    _masked_store,
    _splat,
    _store,
    _tail_mask,
    _transposed_by_quarters,
    element,
)

_I64 = ir.IntType(64)


def _number(value):
    return ir.Constant(_I64, value) if isinstance(value, int) else value


class _Emitter:
    """A builder with the few operations that the layers below are written in."""

    def __init__(self, context, builder, vec):
        self.context, self.builder = context, builder
        self.n, self.vty = vec.lanes, context.get_value_type(vec)
        self.zero = ir.Constant(self.vty, None)

    def at(self, pointer, *offsets):
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_number(offset)])
        return pointer

    def times(self, value, number):
        return self.builder.mul(_number(value), _number(number))

    def spread(self, pointer):
        return _splat(self.builder, self.builder.load(pointer), self.n)

    def fused(self, a, b, c):
        return _call(self.builder, "llvm.fma", self.vty, a, b, c)

    def load(self, pointer, mask=None):
        return _load(self.builder, pointer, self.vty) if mask is None else _masked_load(
            self.builder, pointer, self.vty, mask
        )  # fmt: skip

    def store(self, value, pointer, mask=None):
        if mask is None:
            _store(self.builder, value, pointer)
        else:
            _masked_store(self.builder, value, pointer, mask)

    def cells(self, rows, columns, start=None):
        """Make accumulators, which LLVM keeps in registers; they begin at zero, or at a vector for each row."""
        made = [[cgutils.alloca_once(self.builder, self.vty) for _ in range(columns)] for _ in range(rows)]
        for i, row in enumerate(made):
            for cell in row:
                self.builder.store(self.zero if start is None else start[i], cell)
        return made

    def add_product(self, cell, a, b):
        self.builder.store(self.fused(a, b, self.builder.load(cell)), cell)

    def panels(self, columns, wide, emit):
        """Emit `emit(first column, masks)` for each `wide` registers of columns; whole ones need no masks."""
        builder = self.builder
        j, close = _loop(builder, columns, wide * self.n, "panel")
        left = builder.sub(columns, j)
        whole = builder.icmp_signed(">=", left, _number(wide * self.n))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                emit(j, [None] * wide)
            with otherwise:
                emit(j, [_tail_mask(builder, builder.sub(left, _number(v * self.n)), self.n) for v in range(wide)])
        close()

    def merged(self, vectors, places):
        """Return the register whose lane e is lane `places[e][1]` of the vector number `places[e][0]`."""
        merged, index = vectors[0], ir.VectorType(ir.IntType(32), self.n)
        for c in range(1, len(vectors)):
            # What lies in the right place already, after the first round, stays there.
            which = [self.n + lane if own == c else lane if c == 1 else e for e, (own, lane) in enumerate(places)]
            merged = self.builder.shuffle_vector(merged, vectors[c], ir.Constant(index, which))
        return merged

    def interleaved(self, vectors, q):
        """Return register `q` of the array whose element `i * len(vectors) + c` is lane i of vector c."""
        return self.merged(vectors, [divmod(q * self.n + e, len(vectors))[::-1] for e in range(self.n)])

    def taken_apart(self, vectors, c):
        """Return the vector c of those whose lanes `interleaved` has put side by side in `vectors`."""
        return self.merged(vectors, [divmod(e * len(vectors) + c, self.n) for e in range(self.n)])


def _by_width(vec, emit):
    """Emit one variant for each narrow width behind a switch on the first integer argument."""

    def codegen(context, builder, sig, args):
        done, nothing = builder.append_basic_block("few.done"), builder.append_basic_block("few.none")
        switch = builder.switch(args[0], nothing)
        with builder.goto_block(nothing):
            builder.branch(done)
        for width in range(1, NARROW + 1):
            block = builder.append_basic_block(f"few.{width}")
            switch.add_case(_number(width), block)
            builder.position_at_end(block)
            emit(_Emitter(context, builder, vec), sig, args, width)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return codegen


@intrinsic
def few_inputs_forward(typingctx, k, m, n, x, x_row, w, b, y):
    """Dense layer of `k` <= NARROW inputs, lanes along the outputs: `y[s, j] = b[j] + sum_i x[s, i] w[i, j]`.

    All arrays are pointers; rows of `x` lie `x_row` apart, those of `w` and `y` end to end.
    """
    vec = _like(y)

    def emit(e, sig, args, k):
        _, m, n, x, x_row, w, b, y = args
        wide = min(4, (_REGISTERS - 4) // (k + 2))

        def panel(j, masks):
            lines = [
                [e.load(e.at(w, e.times(n, i), j, v * e.n), mask) for v, mask in enumerate(masks)] for i in range(k)
            ]
            bias = [e.load(e.at(b, j, v * e.n), mask) for v, mask in enumerate(masks)]
            s, close = _loop(e.builder, m, 1, "samples")
            total = bias
            for i in range(k):
                value = e.spread(e.at(x, e.times(x_row, s), i))
                total = [e.fused(value, line, t) for line, t in zip(lines[i], total, strict=True)]
            row = e.at(y, e.times(n, s), j)
            for v, mask in enumerate(masks):
                e.store(total[v], e.at(row, v * e.n), mask)
            close()

        e.panels(n, wide, panel)

    i = types.intp
    return types.void(i, i, i, x, i, w, b, y), _by_width(vec, emit)


@intrinsic
def few_inputs_backward(typingctx, k, m, n, x, x_row, dz, dw, db):
    """Gradients of the parameters of a layer of `k` <= NARROW inputs, in one pass over the samples.

    `dw[i, j] = sum_s x[s, i] dz[s, j]`, `db[j] = sum_s dz[s, j]`; arrays as in `few_inputs_forward`.
    """
    vec = _like(dz)

    def emit(e, sig, args, k):
        _, m, n, x, x_row, dz, dw, db = args
        wide = min(4, (_REGISTERS - 2) // (k + 2))

        def panel(j, masks):
            sums = e.cells(k + 1, len(masks))
            s, close = _loop(e.builder, m, 1, "samples")
            row = e.at(dz, e.times(n, s), j)
            values = [e.spread(e.at(x, e.times(x_row, s), i)) for i in range(k)]
            for v, mask in enumerate(masks):
                line = e.load(e.at(row, v * e.n), mask)
                for i in range(k):
                    e.add_product(sums[i][v], values[i], line)
                e.builder.store(e.builder.fadd(e.builder.load(sums[k][v]), line), sums[k][v])
            close()
            for i in range(k + 1):
                target = e.at(dw, e.times(n, i), j) if i < k else e.at(db, j)
                for v, mask in enumerate(masks):
                    e.store(e.builder.load(sums[i][v]), e.at(target, v * e.n), mask)

        e.panels(n, wide, panel)

    i = types.intp
    return types.void(i, i, i, x, i, dz, dw, db), _by_width(vec, emit)


@intrinsic
def few_outputs_backward(typingctx, n, m, k, x, dz, wt, dwt, db, dx):
    """All gradients of a layer of `n` <= NARROW outputs, lanes along the inputs, in one pass over the samples.

    With `wt` the weights turned, (n, k): `dwt[c, i] = sum_s x[s, i] dz[s, c]`, `db[c] = sum_s dz[s, c]`,
    `dx[s, i] = sum_c dz[s, c] wt[c, i]`. All arrays are pointers; all rows lie end to end.
    """
    vec = _like(dz)

    def emit(e, sig, args, n):
        _, m, k, x, dz, wt, dwt, db, dx = args
        builder = e.builder
        wide = max(1, min(4, (_REGISTERS - 4) // (2 * n + 1)))

        def panel(i, masks):
            sums = e.cells(n, len(masks))
            # The biases ride along: alone they would be chains that wait on their own latency.
            outer = [cgutils.alloca_once(builder, e.vty.element) for _ in range(n)]
            for cell in outer:
                builder.store(ir.Constant(e.vty.element, 0.0), cell)
            lines = [
                [e.load(e.at(wt, e.times(k, c), i, v * e.n), mask) for v, mask in enumerate(masks)] for c in range(n)
            ]
            s, close = _loop(builder, m, 1, "samples")
            values = [builder.load(e.at(dz, e.times(s, n), c)) for c in range(n)]
            ds = [_splat(builder, value, e.n) for value in values]
            for value, cell in zip(values, outer, strict=True):
                builder.store(builder.fadd(builder.load(cell), value), cell)
            row, back = e.at(x, e.times(k, s), i), e.at(dx, e.times(k, s), i)
            for v, mask in enumerate(masks):
                line, total = e.load(e.at(row, v * e.n), mask), e.zero
                for c in range(n):
                    e.add_product(sums[c][v], ds[c], line)
                    total = e.fused(ds[c], lines[c][v], total)
                e.store(total, e.at(back, v * e.n), mask)
            close()
            for c in range(n):
                for v, mask in enumerate(masks):
                    e.store(builder.load(sums[c][v]), e.at(dwt, e.times(k, c), i, v * e.n), mask)
                builder.store(builder.load(outer[c]), e.at(db, c))

        e.panels(k, wide, panel)

    i = types.intp
    return types.void(i, i, i, x, dz, wt, dwt, db, dx), _by_width(vec, emit)


@intrinsic
def few_outputs_forward(typingctx, n, m, k, x, w, w_row, w_step, b, biased, y):
    """Product with `n` <= NARROW outputs, lanes along the samples: `y[s, c] = b[c] + sum_i x[s, i] w[c, i]`.

    `w[c, i]` lies at `w[c * w_row + i * w_step]`; unless `biased`, the sums begin at zero. All arrays are pointers;
    rows of `x` and `y` lie end to end. Blocks of `x` are turned in registers, and the results are turned back there.
    """
    vec = _like(y)

    def emit(e, sig, args, n):
        _, m, k, x, w, w_row, w_step, b, biased, y = args
        builder, step = e.builder, e.n
        blocks = max(1, min(2, _REGISTERS // 2 // step))
        one = _number(1)
        last = builder.sub(m, one)
        is_biased = builder.icmp_signed("!=", biased, _number(0))
        starts = [cgutils.alloca_once(builder, e.vty) for _ in range(n)]
        for c, cell in enumerate(starts):
            builder.store(e.zero, cell)
            with builder.if_then(is_biased):
                builder.store(e.spread(e.at(b, c)), cell)
        room = [cgutils.alloca_once(builder, ir.ArrayType(e.vty, step)) for _ in range(blocks)]
        s, close = _loop(builder, m, blocks * step, "samples")
        sums = e.cells(n, blocks, [builder.load(cell) for cell in starts])

        def columns(first, mask):
            """Return the turned blocks of `step` inputs from `first` on; rows behind the last one repeat it."""
            pointer, turned = e.at(x, e.times(k, s), first), []
            for block in range(blocks):
                lines = []
                for r in range(step):
                    lines.append(e.load(pointer, mask))
                    here = builder.add(s, _number(block * step + r))
                    further = builder.icmp_signed("<", here, last)
                    pointer = e.at(pointer, builder.select(further, k, _number(0)))
                turned.append(_transposed_by_quarters(e.builder, lines))
            return turned

        whole = builder.mul(builder.sdiv(k, _number(step)), _number(step))
        t, next_columns = _loop(builder, whole, step, "inputs")
        turned = columns(t, None)
        at = [e.at(w, e.times(t, w_step), e.times(w_row, c)) for c in range(n)]
        for j in range(step):
            for c in range(n):
                weight = e.spread(at[c])
                for block in range(blocks):
                    e.add_product(sums[c][block], turned[block][j], weight)
                at[c] = e.at(at[c], w_step)
        next_columns()
        left = builder.sub(k, whole)
        with builder.if_then(builder.icmp_signed(">", left, _number(0))):
            for block, lines in enumerate(columns(whole, _tail_mask(builder, left, step))):
                for j, line in enumerate(lines):
                    builder.store(line, builder.gep(room[block], [_number(0), _number(j)]))
            j, next_input = _loop(builder, left, 1, "rest")
            place = e.times(builder.add(whole, j), w_step)
            for c in range(n):
                weight = e.spread(e.at(w, place, e.times(w_row, c)))
                for block in range(blocks):
                    line = builder.load(builder.gep(room[block], [_number(0), j]))
                    e.add_product(sums[c][block], line, weight)
            next_input()
        for block in range(blocks):
            done = builder.add(s, _number(block * step))
            target, rest = e.at(y, e.times(done, n)), e.times(builder.sub(m, done), n)
            vectors = [builder.load(sums[c][block]) for c in range(n)]
            for q in range(n):
                mask = _tail_mask(builder, builder.sub(rest, _number(q * step)), step)
                e.store(e.interleaved(vectors, q), e.at(target, q * step), mask)
        close()

    i = types.intp
    return types.void(i, i, i, x, w, i, i, b, i, y), _by_width(vec, emit)


@intrinsic
def split_columns(typingctx, n, source, at, rows, target, target_at, target_row):
    """Copy up to a register of rows of `n` <= NARROW values, column by column: `target[c, i] = source[i, c]`.

    Rows of `source` lie end to end from `at` on, those of `target` `target_row` apart, and whole registers are written.
    """
    vec = _like(source)

    def emit(e, sig, args, n):
        _, source, at, rows, target, target_at, target_row = args
        pointer = element(e.context, e.builder, sig.args[1], source, at)
        out = element(e.context, e.builder, sig.args[4], target, target_at)
        count = e.times(rows, n)
        masks = [_tail_mask(e.builder, e.builder.sub(count, _number(q * e.n)), e.n) for q in range(n)]
        vectors = [e.load(e.at(pointer, q * e.n), mask) for q, mask in enumerate(masks)]
        for c in range(n):
            e.store(e.taken_apart(vectors, c), e.at(out, e.times(target_row, c)))

    i = types.intp
    return types.void(i, source, i, i, target, i, i), _by_width(vec, emit)


@intrinsic
def join_columns(typingctx, n, source, at, source_row, rows, target, target_at):
    """Undo `split_columns`: `target[i, c] = source[c, i]` for up to a register of rows."""
    vec = _like(source)

    def emit(e, sig, args, n):
        _, source, at, source_row, rows, target, target_at = args
        pointer = element(e.context, e.builder, sig.args[1], source, at)
        out = element(e.context, e.builder, sig.args[5], target, target_at)
        vectors = [e.load(e.at(pointer, e.times(source_row, c))) for c in range(n)]
        count = e.times(rows, n)
        for q in range(n):
            mask = _tail_mask(e.builder, e.builder.sub(count, _number(q * e.n)), e.n)
            e.store(e.interleaved(vectors, q), e.at(out, q * e.n), mask)

    i = types.intp
    return types.void(i, source, i, i, i, target, i), _by_width(vec, emit)
