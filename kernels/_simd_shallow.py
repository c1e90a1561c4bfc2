"""The gradient of the inputs of a layer of few outputs, some rows at a time from their first column to their last.

`_simd.tile` goes down panels. Where a sum has few steps, a row of a panel is a line or two that the core is not ready
for: of what it reads and writes, it waits for nearly all (Zen 3, one thread: 128 × 512 from ten outputs took 98 µs,
1024 × 300 from two 380). Row by row, processors see what comes next. Sums are those of `_simd.tile`.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._simd import VECTOR_BYTES, WHERE_POSITIVE, _like, _loop
from ._simd_few import _Emitter, _number

BY_ROWS = VECTOR_BYTES >= 32
"""Whether such a gradient is computed here. AVX-512 has panels four lines wide, but it pays there too (Ice Lake: 128 ×
512 from ten outputs 69 -> 40 µs, 1024 × 300 from two 276 -> 210; with six rows at a time 45 and 223).
"""
_ROWS, _WIDE = 4 if VECTOR_BYTES == 64 else 3, 4
"""Rows and registers at a time (200 × 100 from ten outputs on Ice Lake: with four rows 1.1 times as fast as with three,
with three and seven registers 1.16, but 128 × 512 0.9 times, and with six registers both slower).
"""


@intrinsic
def shallow_inputs(typingctx, n, m, k, dz, dz_row, wt, wt_row, dx, row, finish, sign):
    """Compute `dx[s, i] = finish(sum_c dz[s, c] wt[c, i])` for `n` values of c, `m` rows and `k` columns.

    All arrays are pointers; rows of `dz` and `wt` lie `dz_row` and `wt_row` apart, those of `dx` and `sign` `row`.
    `finish` is KEEP or WHERE_POSITIVE, see `_simd.tile`. Of `wt`, whole registers are read.
    """
    vec = _like(dx)

    def codegen(context, builder, sig, args):
        e = _Emitter(context, builder, vec)
        n, m, k, dz, dz_row, wt, wt_row, dx, row, finish, sign = args
        masked = builder.icmp_signed("==", finish, _number(WHERE_POSITIVE))

        def some_rows(s, rows):
            tops = [e.times(row, builder.add(s, _number(r))) for r in range(rows)]
            inputs = [e.at(dz, e.times(dz_row, builder.add(s, _number(r)))) for r in range(rows)]

            def panel(i, parts):
                cells = e.cells(rows, len(parts))
                line = cgutils.alloca_once(builder, wt.type)
                builder.store(e.at(wt, i), line)
                c, close = _loop(builder, n, 1, "outputs")
                pointer = builder.load(line)
                factors = [e.spread(e.at(place, c)) for place in inputs]
                for v in range(len(parts)):
                    weights = e.load(e.at(pointer, v * e.n))
                    for r, factor in enumerate(factors):
                        e.add_product(cells[r][v], factor, weights)
                builder.store(e.at(pointer, wt_row), line)
                close()
                with builder.if_then(masked):
                    for r in range(rows):
                        for v, some in enumerate(parts):
                            by = e.load(e.at(sign, tops[r], i, v * e.n), some)
                            value = builder.load(cells[r][v])
                            positive = builder.fcmp_ordered(">", by, e.zero)
                            builder.store(builder.select(positive, value, e.zero), cells[r][v])
                for r in range(rows):
                    for v, some in enumerate(parts):
                        e.store(builder.load(cells[r][v]), e.at(dx, tops[r], i, v * e.n), some)

            e.panels(k, _WIDE, panel)

        whole = builder.sub(m, builder.srem(m, _number(_ROWS)))
        s, close = _loop(builder, whole, _ROWS, "rows")
        some_rows(s, _ROWS)
        close()
        s, close = _loop(builder, m, 1, "rest", whole)
        some_rows(s, 1)
        close()
        return context.get_dummy_value()

    i = types.intp
    return types.void(i, i, i, dz, i, wt, i, dx, i, i, sign), codegen
