"""A panel of a gradient, tile below tile.

`_simd.tile` takes any number of rows and columns, has ways to begin and to end, and passes over steps. To tell them
apart takes 60 instructions a tile, and it takes as many to ask for a line that is updated next: a tenth of the time
where gradients are summed in pieces of about 100 steps. Here tiles are whole, and what they have in common is settled
once for all of them (Zen 3, with Adam: 128 × 784 × 512 1.05, 32 × 784 × 128 1.03; Ice Lake: 1.04 and 1.05 to 1.1). Sums
are those of `_simd.tile`.

Rejected: tiles of three rows and two panels, whose second panel is read as an operand (18 instructions a step instead
of 21: 1.02 in the first-level cache, 0.85 where another thread shares it); and to update the panel before between the
steps (0.83 to 1.0: square root and division hold up the multiply-adds).
"""

import itertools

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._simd import FROM_OUTPUT, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, _like, _loop, _opaque, _prefetch
from ._simd_few import _I64, _Emitter, _number

WHOLE_TILES = VECTOR_BYTES >= 32
"""Whether panels of whole tiles are computed here."""


class _Steps:
    """Emits steps of a tile's sums: offsets lie in registers and cannot be taken apart, see `_simd._four_steps`."""

    def __init__(self, e, cells, a_step, b_step):
        self._e, self._cells = e, cells
        self._down, self._twice = (self._offset(b_step, u) for u in (1, 2))
        self._far = [None, *(self._offset(a_step, u) for u in (1, 2, 3, 4))]

    def _offset(self, stride, times):
        return _opaque(self._e.builder, self._e.times(stride, times))

    def one(self, pa, pb):
        """Emit a step with the values at `pa` and the registers at `pb`."""
        e = self._e
        line = [e.load(e.at(pb, v * e.n)) for v in range(TILE_VECTORS)]
        for r, row in enumerate(self._cells):
            factor = e.spread(e.at(pa, r))
            for cell, value in zip(row, line, strict=True):
                e.add_product(cell, factor, value)

    def four(self, pa, pb):
        """Emit four steps; return the pointers behind them."""
        e = self._e
        for u in range(4):
            self.one(e.at(pa, self._far[u]) if u else pa, e.at(pb, self._down) if u % 2 else pb)
            if u % 2:
                pb = _opaque(e.builder, e.at(pb, self._twice))
        return _opaque(e.builder, e.at(pa, self._far[4])), pb


@intrinsic
def whole_tiles(typingctx, a, a_step, b, b_step, c, c_row, tiles, steps, start, p, s1, s2, p_row, p_rows, p_step):
    """Compute `tiles` tiles of TILE_ROWS rows, below each other, of a whole panel.

    `c[i, j] = start + sum_k a[k, i] b[k, j]`. All arrays are pointers. `a[k, i]` lies at `k * a_step + i`, `b[k, j]` at
    `k * b_step + j` and `c[i, j]` at `i * c_row + j`. `start` is what is in `c` if it is FROM_OUTPUT, else zero.

    Each tile prefetches on its way `p_rows` rows, a panel's columns, of each of `p`, `s1` and `s2`, to be written:
    `p_row` elements apart, from `p_step` times the tile's number on.
    """
    vec = _like(c)

    def codegen(context, builder, sig, args):
        e, line = _Emitter(context, builder, vec), 64 * 8 // vec.dtype.bitwidth
        a, a_step, b, b_step, c, c_row, tiles, steps, start, p, s1, s2, p_row, p_rows, p_step = args
        cells = e.cells(TILE_ROWS, TILE_VECTORS)
        emit = _Steps(e, cells, a_step, b_step)
        fours = builder.ashr(steps, _number(2))
        slots = builder.add(p_rows, _number(1))
        gap = builder.sdiv(fours, slots)
        at_a, at_b, at_c, asked, k = (cgutils.alloca_once(builder, t) for t in (a.type, b.type, c.type, _I64, _I64))
        builder.store(c, at_c)
        builder.store(_number(0), asked)
        t, next_tile = _loop(builder, tiles, 1, "tiles")
        target = builder.load(at_c)
        places = [[e.at(target, e.times(c_row, r), v * e.n) for v in range(TILE_VECTORS)] for r in range(TILE_ROWS)]
        pairs = [*zip(itertools.chain(*cells), itertools.chain(*places), strict=True)]
        with builder.if_else(builder.icmp_signed("==", start, _number(FROM_OUTPUT))) as (goes_on, begins):
            with goes_on:
                for cell, place in pairs:
                    builder.store(e.load(place), cell)
            with begins:
                for cell, _ in pairs:
                    builder.store(e.zero, cell)
        for cell, value in ((at_a, e.at(a, e.times(t, TILE_ROWS))), (at_b, b), (k, _number(0))):
            builder.store(value, cell)
        top = builder.load(asked)
        slot, next_slot = _loop(builder, slots, 1, "slots")
        last = builder.icmp_signed("==", slot, p_rows)
        stop = builder.select(last, fours, builder.add(builder.load(k), gap))
        test, body, done = (builder.append_basic_block(f"four.{part}") for part in ("test", "body", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(builder.icmp_signed("<", builder.load(k), stop), body, done)
        builder.position_at_end(body)
        for cell, value in zip((at_a, at_b), emit.four(builder.load(at_a), builder.load(at_b)), strict=True):
            builder.store(value, cell)
        builder.store(builder.add(builder.load(k), _number(1)), k)
        builder.branch(test)
        builder.position_at_end(done)
        with builder.if_then(builder.not_(last)):
            row = builder.add(top, builder.mul(slot, p_row))
            for array in (p, s1, s2):
                first = e.at(array, row)
                for j in range(0, TILE_VECTORS * e.n, line):
                    _prefetch(builder, e.at(first, j), True)
        next_slot()
        _, next_step = _loop(builder, builder.and_(steps, _number(3)), 1, "rest")
        pa, pb = builder.load(at_a), builder.load(at_b)
        emit.one(pa, pb)
        builder.store(e.at(pa, a_step), at_a)
        builder.store(e.at(pb, b_step), at_b)
        next_step()
        for cell, place in pairs:
            e.store(builder.load(cell), place)
        builder.store(e.at(target, e.times(c_row, TILE_ROWS)), at_c)
        builder.store(builder.add(top, p_step), asked)
        next_tile()
        return context.get_dummy_value()

    i = types.intp
    return types.void(a, i, b, i, c, i, i, i, i, p, s1, s2, i, i, i), codegen
