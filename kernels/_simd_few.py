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
    VECTOR_BYTES,
    _bytes,
    _call,
    _like,
    _load,
    _load_some,
    _loop,
    _masked_load,
    _masked_store,
    _opaque,
    _prefetch,
    _shuffle,
    _splat,
    _store,
    _store_some,
    _tail_mask,
    _transposed_by_quarters,
    element,
)

_I64 = ir.IntType(64)
# What a panel reads and writes of a row ends within lines, which the next one needs again (300 × 64 × 3 back: 1.10,
# 300 × 128 × 3: 1.14; 32 rows are level).
_BLOCK_ROWS = 64
_LINE = 64
FEW_OUTPUTS = 11 if VECTOR_BYTES == 64 else NARROW
"""Most outputs of a forward product with lanes along the samples: the sums of two registers of samples for each of them
are held beside four inputs of as many.

A tile one register wide reads a value for each multiply-add, and of reads into registers of 512 bits Ice Lake begins
little more than one in a cycle (200 × 100 -> 10: 8.1 -> 4.4 µs; 64-100-10: 1.04 to 1.07 times as fast on one thread).
"""


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

    def some(self, count):
        """Return what stands for the first `count` lanes of a register: a mask, where one costs nothing."""
        return _tail_mask(self.builder, count, self.n) if VECTOR_BYTES == 64 else count

    def load(self, pointer, some=None):
        if some is None:
            return _load(self.builder, pointer, self.vty)
        return (_masked_load if VECTOR_BYTES == 64 else _load_some)(self.builder, pointer, self.vty, some)

    def store(self, value, pointer, some=None):
        if some is None:
            _store(self.builder, value, pointer)
        else:
            (_masked_store if VECTOR_BYTES == 64 else _store_some)(self.builder, value, pointer, some)

    def cells(self, rows, columns, start=None):
        """Make accumulators, which LLVM keeps in registers; they begin at zero, or at a vector for each row."""
        made = [[cgutils.alloca_once(self.builder, self.vty) for _ in range(columns)] for _ in range(rows)]
        for i, row in enumerate(made):
            for cell in row:
                self.builder.store(self.zero if start is None else start[i], cell)
        return made

    def add_product(self, cell, a, b):
        self.builder.store(self.fused(a, b, self.builder.load(cell)), cell)

    def cells_from(self, pointers, parts, stored):
        """Make accumulators that go on from what the last block of rows has stored, or begin at zero."""
        made = self.cells(len(pointers), len(parts))
        with self.builder.if_then(stored):
            for row, pointer in zip(made, pointers, strict=True):
                for v, (cell, some) in enumerate(zip(row, parts, strict=True)):
                    self.builder.store(self.load(self.at(pointer, v * self.n), some), cell)
        return made

    def blocks_of_rows(self, rows, columns, wide):
        """Open a loop over blocks of rows, which stay in the first-level cache from panel to panel, at least one.

        Return the first row of the block, the first behind it, whether it is not the first block, and what closes.
        """
        builder, one = self.builder, _number(1)
        some = builder.select(builder.icmp_signed(">", rows, one), rows, one)
        together = builder.icmp_signed("<=", columns, _number(wide * self.n))
        size = builder.select(together, some, _number(_BLOCK_ROWS))
        first, close = _loop(builder, some, size, "block")
        behind = builder.add(first, size)
        behind = builder.select(builder.icmp_signed("<", behind, rows), behind, rows)
        return first, behind, builder.icmp_signed(">", first, _number(0)), close

    def panels(self, columns, wide, emit):
        """Emit `emit(first column, parts)` for panels of up to `wide` registers; a part is None, or `some` lanes.

        With masks that cost nothing the last panel is as wide as the others, without them it is cut into narrower ones.
        """
        builder, first = self.builder, _number(0)
        for width in [wide] if VECTOR_BYTES == 64 else sorted({wide, min(wide, 2), 1}, reverse=True):
            step = _number(width * self.n)
            end = builder.sub(columns, builder.srem(builder.sub(columns, first), step))
            j, close = _loop(builder, end, width * self.n, "panel", first)
            emit(j, [None] * width)
            close()
            first = end
        left = builder.sub(columns, first)
        with builder.if_then(builder.icmp_signed(">", left, _number(0))):
            # The last step of the widths above is one register, or else masks take the rest.
            parts = [self.some(builder.sub(left, _number(v * self.n))) for v in range(width)]
            emit(first, parts)

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


def _variants(builder, which, cases, name):
    """Open a block for each number of `cases` that `which` may be, one after the other, and go on behind them all."""
    done, nothing = builder.append_basic_block(f"{name}.done"), builder.append_basic_block(f"{name}.none")
    switch = builder.switch(which, nothing)
    with builder.goto_block(nothing):
        builder.branch(done)
    for case in cases:
        block = builder.append_basic_block(f"{name}.{case}")
        switch.add_case(_number(case), block)
        builder.position_at_end(block)
        yield case
        builder.branch(done)
    builder.position_at_end(done)


def _by_width(vec, emit, most=NARROW):
    """Emit one variant for each narrow width behind a switch on the first integer argument."""

    def codegen(context, builder, sig, args):
        for width in _variants(builder, args[0], range(1, most + 1), "few"):
            emit(_Emitter(context, builder, vec), sig, args, width)
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
        first, behind, _, close_block = e.blocks_of_rows(m, n, wide)

        def panel(j, parts):
            lines = [
                [e.load(e.at(w, e.times(n, i), j, v * e.n), some) for v, some in enumerate(parts)] for i in range(k)
            ]
            bias = [e.load(e.at(b, j, v * e.n), some) for v, some in enumerate(parts)]
            s, close = _loop(e.builder, behind, 1, "samples", first)
            total = bias
            for i in range(k):
                value = e.spread(e.at(x, e.times(x_row, s), i))
                total = [e.fused(value, line, t) for line, t in zip(lines[i], total, strict=True)]
            row = e.at(y, e.times(n, s), j)
            for v, some in enumerate(parts):
                e.store(total[v], e.at(row, v * e.n), some)
            close()

        e.panels(n, wide, panel)
        close_block()

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
        first, behind, stored, close_block = e.blocks_of_rows(m, n, wide)

        def panel(j, parts):
            targets = [*(e.at(dw, e.times(n, i), j) for i in range(k)), e.at(db, j)]
            sums = e.cells_from(targets, parts, stored)
            s, close = _loop(e.builder, behind, 1, "samples", first)
            row = e.at(dz, e.times(n, s), j)
            values = [e.spread(e.at(x, e.times(x_row, s), i)) for i in range(k)]
            for v, some in enumerate(parts):
                line = e.load(e.at(row, v * e.n), some)
                for i in range(k):
                    e.add_product(sums[i][v], values[i], line)
                e.builder.store(e.builder.fadd(e.builder.load(sums[k][v]), line), sums[k][v])
            close()
            for target, cells in zip(targets, sums, strict=True):
                for v, some in enumerate(parts):
                    e.store(e.builder.load(cells[v]), e.at(target, v * e.n), some)

        e.panels(n, wide, panel)
        close_block()

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
        # Of 16 registers none is left to the weights, which come from memory.
        wide = (12 - n) // n if _REGISTERS == 16 else (_REGISTERS - 4) // (2 * n + 1)
        wide = max(1, min(4, wide))
        totals = [cgutils.alloca_once(builder, e.vty.element) for _ in range(n)]
        for cell in totals:
            builder.store(ir.Constant(e.vty.element, 0.0), cell)
        first, behind, stored, close_block = e.blocks_of_rows(m, k, wide)

        def panel(i, parts):
            targets = [e.at(dwt, e.times(k, c), i) for c in range(n)]
            sums = e.cells_from(targets, parts, stored)
            lines = [
                [e.load(e.at(wt, e.times(k, c), i, v * e.n), some) for v, some in enumerate(parts)] for c in range(n)
            ]
            s, close = _loop(builder, behind, 1, "samples", first)
            ds = [e.spread(e.at(dz, e.times(s, n), c)) for c in range(n)]
            row, back = e.at(x, e.times(k, s), i), e.at(dx, e.times(k, s), i)
            for v, some in enumerate(parts):
                line, total = e.load(e.at(row, v * e.n), some), e.zero
                for c in range(n):
                    e.add_product(sums[c][v], ds[c], line)
                    total = e.fused(ds[c], lines[c][v], total)
                e.store(total, e.at(back, v * e.n), some)
            close()
            for target, cells in zip(targets, sums, strict=True):
                for v, some in enumerate(parts):
                    e.store(builder.load(cells[v]), e.at(target, v * e.n), some)

        # Chains that wait on their own latency: the panels may begin meanwhile.
        s, close = _loop(builder, behind, 1, "biases", first)
        for c, cell in enumerate(totals):
            builder.store(builder.fadd(builder.load(cell), builder.load(e.at(dz, e.times(s, n), c))), cell)
        close()
        e.panels(k, wide, panel)
        close_block()
        for c, cell in enumerate(totals):
            builder.store(builder.load(cell), e.at(db, c))

    i = types.intp
    return types.void(i, i, i, x, dz, wt, dwt, db, dx), _by_width(vec, emit)


class _Rows:
    """Distances between rows in registers, which give addresses of up to seven rows further without arithmetic.

    Left to itself, LLVM keeps a pointer for each row, in memory (300 × 64 -> 3 on Zen 3, whose registers are 8: 111
    instructions for 8 × 8 inputs, now 77 for 16 × 4; 4.9 -> 3.3 µs).
    """

    def __init__(self, e, length):
        self._e, size = e, _bytes(e.vty.element)
        self._odd = [_opaque(e.builder, e.times(length, r * size)) for r in range(1, 8, 2)]

    def further(self, pointer, r):
        """Return the pointer to what lies `r` rows further."""
        if r == 0:
            return pointer
        lowest, builder = r & -r, self._e.builder
        byte = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        byte = self._e.at(byte, self._e.times(self._odd[r // lowest // 2], lowest))
        return builder.bitcast(byte, pointer.type)


@intrinsic
def few_outputs_forward(typingctx, n, m, k, x, x_row, together, apart, w, w_row, w_step, b, biased, y, y_row):
    """Product with `n` <= FEW_OUTPUTS outputs, lanes along the samples: `y[s, c] = b[c] + sum_i x[s, i] w[c, i]`.

    `w[c, i]` lies at `w[c * w_row + i * w_step]`; unless `biased`, the sums begin at zero. All arrays are pointers;
    rows of `x` lie `x_row` apart, those of `y` `y_row`. Of a row of `x` `together` elements follow each other, whole
    quarters of a register, and the next ones begin `apart` elements from where these do. Blocks of `x` are turned in
    registers, and the results are turned back there. Up to NARROW outputs `y_row` is `n`; above it `w_row` is 1, and
    there is a register of rows.
    """
    vec = _like(y)

    def emit(e, sig, args, n):
        _, m, k, x, x_row, together, apart, w, w_row, w_step, b, biased, y, y_row = args
        builder, step = e.builder, e.n
        is_biased = builder.icmp_signed("!=", biased, _number(0))
        starts = [cgutils.alloca_once(builder, e.vty) for _ in range(n)]
        for c, cell in enumerate(starts):
            builder.store(e.zero, cell)
            with builder.if_then(is_biased):
                builder.store(e.spread(e.at(b, c)), cell)
        # Inputs that are turned at once: 16 bytes of each row cross no line, and registers filled from such pieces
        # take fewer shuffles to turn than whole ones (300 × 64 -> 3 on Ice Lake: 1.15). Of float64 a piece holds two,
        # too few to pay (0.8 to 0.95), where there are registers enough to take whole ones.
        size = _bytes(e.vty.element)
        wide = step if _REGISTERS == 32 and n <= NARROW and size == 8 else 16 // size
        piece = ir.VectorType(e.vty.element, wide)
        x_rows, w_rows = _Rows(e, x_row), _Rows(e, w_row)

        def turned(cells, row, mask=None):
            """Return, for each row of `cells`, registers of the next `wide` inputs, and go on to those behind them."""
            pointers = [builder.load(cell) for cell in cells]
            lines = []
            for i in range(wide):
                parts = [row(pointers, r) for r in range(i, step, wide)]
                parts = [
                    _load(builder, part, piece) if mask is None else _masked_load(builder, part, piece, mask)
                    for part in parts
                ]  # fmt: skip
                while len(parts) > 1:
                    both = list(range(2 * parts[0].type.count))
                    parts = [_shuffle(builder, *pair, both) for pair in zip(parts[::2], parts[1::2], strict=True)]
                lines += parts
            return _transposed_by_quarters(builder, lines)

        def rows(blocks, tops, row, ahead=None):
            """Return the sums of some rows, a register a block and output.

            `row(pointers, r)` is the pointer to row r of them, if `pointers` are what was stored in `tops`. As many
            rows from `ahead` on are asked for meanwhile.
            """
            sums = e.cells(n, blocks, [builder.load(cell) for cell in starts])
            weights = cgutils.alloca_once(builder, w.type)
            builder.store(w, weights)

            def columns(mask=None):
                results = [
                    turned(tops, lambda pointers, r, first=block * step: row(pointers, first + r), mask)
                    for block in range(blocks)
                ]
                for cell in tops:
                    builder.store(_opaque(builder, e.at(builder.load(cell), wide)), cell)
                return results

            def add(lines):
                pointer = builder.load(weights)
                for c in range(n):
                    weight = e.spread(w_rows.further(pointer, c) if n <= NARROW else e.at(pointer, c))
                    for block, line in enumerate(lines):
                        e.add_product(sums[c][block], line, weight)
                builder.store(_opaque(builder, e.at(pointer, w_step)), weights)

            at, next_piece = _loop(builder, k, together, "piece")
            count = builder.sub(k, at)
            count = builder.select(builder.icmp_signed("<", count, together), count, together)
            whole = builder.mul(builder.sdiv(count, _number(wide)), _number(wide))
            left = builder.sub(count, whole)
            _, next_columns = _loop(builder, whole, wide, "inputs")
            if ahead is not None:
                pointer = builder.load(ahead)
                for line in range(0, blocks * step * wide, _LINE // _bytes(e.vty.element)):
                    _prefetch(builder, e.at(pointer, line), False)
                builder.store(_opaque(builder, e.at(pointer, blocks * step * wide)), ahead)
            for lines in zip(*columns(), strict=True):
                add(lines)
            next_columns()
            with builder.if_then(builder.icmp_signed(">", left, _number(0))):
                room = [cgutils.alloca_once(builder, ir.ArrayType(e.vty, wide)) for _ in range(blocks)]
                for lines, cell in zip(columns(_tail_mask(builder, left, wide)), room, strict=True):
                    for j, line in enumerate(lines):
                        builder.store(line, builder.gep(cell, [_number(0), _number(j)]))
                j, next_input = _loop(builder, left, 1, "rest")
                add([builder.load(builder.gep(cell, [_number(0), j])) for cell in room])
                next_input()
            # Where there is a next piece, this one was whole.
            for cell, rows_together in [(cell, 1) for cell in tops] + ([(ahead, blocks * step)] if ahead else []):
                beyond = builder.sub(apart, e.times(together, rows_together))
                builder.store(_opaque(builder, e.at(builder.load(cell), beyond)), cell)
            next_piece()
            return [[builder.load(cells[block]) for cells in sums] for block in range(blocks)]

        def put(vectors, s, rows=None):
            """Store the sums of a register of rows from `s` on; up to NARROW, `rows` may say of how many of them."""
            if n <= NARROW:
                for q in range(n):
                    some = None if rows is None else e.some(builder.sub(e.times(rows, n), _number(q * step)))
                    e.store(e.interleaved(vectors, q), e.at(y, e.times(s, n), q * step), some)
                return
            for c in range(0, n, step):
                lines = vectors[c : c + step]
                some = None if len(lines) == step else e.some(_number(len(lines)))
                for r, line in enumerate(_transposed_by_quarters(builder, lines + [e.zero] * (step - len(lines)))):
                    e.store(line, e.at(y, e.times(y_row, builder.add(s, _number(r))), c), some)

        def steadily(blocks, begin, end):
            """Compute the rows from `begin` to `end` in whole blocks: the last ones once more, rather than fewer."""
            tall = blocks * step
            at, close = _loop(builder, end, tall, "samples", begin)
            final = builder.sub(end, _number(tall))
            s = builder.select(builder.icmp_signed("<", at, final), at, final)
            tops = [cgutils.alloca_once(builder, x.type) for _ in range(0, tall, 8)]
            for i, cell in enumerate(tops):
                builder.store(e.at(x, e.times(x_row, builder.add(s, _number(8 * i)))), cell)
            ahead = cgutils.alloca_once(builder, x.type)
            builder.store(e.at(x, e.times(x_row, builder.add(s, _number(tall)))), ahead)
            sums = rows(blocks, tops, lambda pointers, r: x_rows.further(pointers[r // 8], r % 8), ahead)
            for block, vectors in enumerate(sums):
                put(vectors, builder.add(s, _number(block * step)))
            close()

        def rarely():
            """Compute less than a block of rows: the last one stands for those that are missing."""
            top = cgutils.alloca_once(builder, x.type)
            builder.store(x, top)
            last = builder.sub(m, _number(1))

            def row(pointers, r):
                there = builder.icmp_signed("<", _number(r), last)
                return e.at(pointers[0], e.times(x_row, builder.select(there, _number(r), last)))

            (vectors,) = rows(1, [top], row)
            put(vectors, _number(0), m)

        begin = _number(0)
        if 2 * (wide + n) < _REGISTERS:
            # What half a block of two holds is left to one.
            rest = builder.srem(m, _number(2 * step))
            lone = builder.icmp_signed("<=", rest, _number(step))
            end = builder.select(lone, builder.sub(m, rest), m)
            end = builder.select(builder.icmp_signed(">=", m, _number(2 * step)), end, begin)
            steadily(2, begin, end)
            begin = end
        if n > NARROW:
            steadily(1, begin, m)
            return
        with builder.if_else(builder.icmp_signed(">=", m, _number(step))) as (many, less):
            with many:
                steadily(1, begin, m)
            with less, builder.if_then(builder.icmp_signed(">", m, _number(0))):
                rarely()

    i = types.intp
    return types.void(i, i, i, x, i, i, i, w, i, i, b, i, y, i), _by_width(vec, emit, FEW_OUTPUTS)


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
        parts = [e.some(e.builder.sub(count, _number(q * e.n))) for q in range(n)]
        vectors = [e.load(e.at(pointer, q * e.n), some) for q, some in enumerate(parts)]
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
            some = e.some(e.builder.sub(count, _number(q * e.n)))
            e.store(e.interleaved(vectors, q), e.at(out, q * e.n), some)

    i = types.intp
    return types.void(i, source, i, i, i, target, i), _by_width(vec, emit)
