"""Vectors, the register tile, and atomics, emitted as LLVM IR: what the other `_simd` files are made of, too.

A *vector* is a Numba value that holds one machine register of lanes (16 float32 on AVX-512, 8 on AVX2, 4 on
64-bit Arm; half as many float64). Kernels load, combine and store vectors as if they were numbers, and a masked
load or store serves the tail, so body and tail run the same instructions and give the same bits. All arithmetic is
written out (``fma`` where one rounding is wanted), which is why no fast-math licence is needed to have it fast.

Arrays are addressed by a flat element offset from their first element; nothing here checks bounds.
"""

import operator
import platform

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic


def _host_vector_bytes():
    """Width of the widest vector register worth using, in bytes."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 16
    if config.CPU_FEATURES is not None:
        have = {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    else:
        have = {name for name, on in llvm.get_host_cpu_features().items() if on}
    if {"avx512f", "avx512dq", "avx512vl", "avx512bw"} <= have:
        return 64
    return 32 if {"avx2", "fma"} <= have else 16


def _host_name():
    """LLVM's name of the processor that code is compiled for."""
    return config.CPU_NAME or llvm.get_host_cpu_name()


VECTOR_BYTES = _host_vector_bytes()
# Rows and vectors of the register tile: accumulators, one row of B and one broadcast must fit the register file
# (32 registers with AVX-512 and on Arm, 16 with AVX2).
TILE_ROWS = 6 if VECTOR_BYTES != 16 or platform.machine().lower() in ("arm64", "aarch64") else 3
TILE_VECTORS = {64: 4, 32: 2, 16: 4}[VECTOR_BYTES]
# Rows of a tile by its registers of columns: what a narrower panel leaves of AVX-512's registers, more rows take. A
# step's instructions for each multiply-add fall from 1.92 to 1.71 with two registers, from 1.78 to 1.58 with three (on
# one thread of Ice Lake 28-48-48-2 with 256 rows 1.1 times as fast, 784-32-10 with 64 and 64-100-10 with 200 1.01 to
# 1.06).
TALL_ROWS = (TILE_ROWS, 12, 12, 8, TILE_ROWS) if VECTOR_BYTES == 64 else (TILE_ROWS,) * (TILE_VECTORS + 1)
# Rows of the tile that passes over steps of a gradient: where half of them are still chains enough to keep the units
# busy, more steps are zero in all of them (784-128-128-10 on Fashion-MNIST: 305 -> 297 µs a step; forward, where the
# other operand comes from the second-level cache, that lost 4 %).
SHORT_ROWS = TILE_ROWS // 2 if VECTOR_BYTES == 64 else TILE_ROWS
# Where two 512-bit multiply-adds begin in a cycle, tiles want their operands close by and close together; Zen 4 begins
# one, and keeps the measures it was measured with.
_HUNGRY = VECTOR_BYTES == 64 and not _host_name().startswith("znver4")
_AVX2 = VECTOR_BYTES == 32
# Whether whole tiles take four steps of their sums at a time, see `_four_steps`.
_BY_FOURS = VECTOR_BYTES >= 32
# So many steps of a sum at once that it is never cut.
WHOLE_SUMS = 1 << 40
# Whether a gradient's sums are taken in pieces, of which both operands are in the first-level cache (64 steps: 68 ->
# 79 % of peak at 256 × 1024 × 1024, 83 -> 92 % at 128 × 784 × 512). Zen 5's second-level cache gives what its tiles
# take: whole sums are 0 to 1 % faster there at 784-1024-1024-1024-10, and 5 % at 28-300-300-300-2.
_IN_PIECES = _HUNGRY and not _host_name().startswith("znver5")
# Steps of such a piece, for a whole block of tiles. 96 instead of 64 make a gradient of 28-300-300-300-2 1.04 times as
# fast on Ice Lake. Of the smaller tiles of AVX2 the ends take longer (on Zen 3, with blocks of 16 × 8 panels, 128 steps
# are 1.20 times as fast as whole sums with 8 × 4 at 1024 × 300 × 300, 1.08 at 256 × 1024 × 512; 64 steps with 16 × 4:
# 1.17 and 0.98).
STEPS_AT_ONCE = 128 if _AVX2 else 96 if _IN_PIECES else WHOLE_SUMS
# The same where one operand has been copied to panels, see `copies.copies_columns`.
COPIED_STEPS = 256 if _IN_PIECES else 0
# Tiles down a panel from which on it is copied to where its rows follow each other (784-512-512-10 with 128 rows: 2,500
# -> 2,110 µs a step; 28-300-300-300-2 with 1024: 7,540 -> 7,060).
COPY_TILES = 16 if _HUNGRY or _AVX2 else 1 << 40
# Tiles down a block of gradient: all of them read the block's columns of the other operand, while these are close by
# (8 -> 16: 89 -> 92 % of peak at 128 × 784 × 512). And panels across it: all of them read the block's rows.
BLOCK_TILES = 16 if _HUNGRY or _AVX2 else 8
BLOCK_PANELS = 8 if _AVX2 else 4
_ESTIMATES = VECTOR_BYTES == 64
SCALES = VECTOR_BYTES == 64
"""Whether `scale_by_power` is one instruction."""
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


class Vector(types.Type):
    """Numba type of one register of `lanes` values of `dtype` (a boolean dtype is a mask)."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


def _element(dtype):
    if dtype == types.boolean:
        return ir.IntType(1)
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


@register_default(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(_element(fe_type.dtype), fe_type.lanes))


def lanes_of(dtype):
    """Return how many values of the Numba type `dtype` fill one register."""
    return VECTOR_BYTES // (dtype.bitwidth // 8)


def _like(ty):
    """Vector type for an array type, a vector type, or a float scalar type."""
    if isinstance(ty, Vector):
        return ty
    dtype = ty.dtype if isinstance(ty, (types.Array, types.CPointer)) else ty
    return Vector(dtype, lanes_of(dtype))


def element(context, builder, ty, value, offset):
    """Emit a pointer to element `offset` (flat) of an array, or of a plain pointer."""
    if isinstance(ty, types.CPointer):
        return builder.gep(value, [offset])
    data = cgutils.create_struct_proxy(ty)(context, builder, value=value).data
    return builder.gep(data, [offset])


def _vector_pointer(builder, pointer, vty):
    return builder.bitcast(pointer, vty.as_pointer())


def _constant(vty, number):
    return ir.Constant(vty, [number] * vty.count)


def _lane_numbers(lanes):
    return ir.Constant(ir.VectorType(ir.IntType(64), lanes), list(range(lanes)))


def _splat(builder, value, lanes):
    vty = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(vty, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vty, ir.Undefined), zeros)


def _tail_mask(builder, count, lanes):
    """Mask whose first `count` lanes are set (`count` is signed: none below 1, all from `lanes`)."""
    return builder.icmp_signed("<", _lane_numbers(lanes), _splat(builder, count, lanes))


def _some_lanes(builder, count, lanes):
    """Mask whose first `count` lanes are set, 1 to `lanes`, for use in loops.

    LLVM moves a comparison to where it is used, and would make it again in every step: on AVX-512 a tile of 36 columns
    took 6 to 7 % longer, on AVX2 one of 10 columns 25 %.
    """
    if _AVX2:
        bits = ir.VectorType(ir.IntType(VECTOR_BYTES * 8 // lanes), lanes)
        return _opaque(builder, builder.sext(_tail_mask(builder, count, lanes), bits))
    if VECTOR_BYTES == 16:
        return _tail_mask(builder, count, lanes)
    i64 = ir.IntType(64)
    bits = builder.lshr(ir.Constant(i64, -1), builder.sub(ir.Constant(i64, 64), count))
    return builder.bitcast(builder.trunc(bits, ir.IntType(lanes)), ir.VectorType(ir.IntType(1), lanes))


def _declare(builder, name, returns, arguments):
    """Declare an LLVM intrinsic by hand: llvmlite's own helper refuses vector types."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(returns, arguments), name)


def _suffix(ty):
    if isinstance(ty, ir.VectorType):
        return f"v{ty.count}{_suffix(ty.element)}"
    return {"float": "f32", "double": "f64"}.get(str(ty), str(ty))


def _call(builder, name, returns, *arguments):
    """Call the LLVM intrinsic `name`, overloaded on its result type."""
    fn = _declare(builder, f"{name}.{_suffix(returns)}", returns, [a.type for a in arguments])
    return builder.call(fn, arguments)


def _opaque(builder, value):
    """Return a value that LLVM cannot see through."""
    kind = ir.FunctionType(value.type, [value.type])
    constraint = "=x,0" if isinstance(value.type, ir.VectorType) else "=r,0"
    return builder.asm(kind, "", constraint, [value], False)


def _masked_load(builder, pointer, vty, mask):
    if mask.type.element.width > 1:
        # AVX2's own instruction: the mask is a register like any other, and need not be made anew (see `_some_lanes`).
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        name = f"llvm.x86.avx.maskload.{'ps' if vty.count == 8 else 'pd'}.256"
        return builder.call(_declare(builder, name, vty, [pointer.type, mask.type]), [pointer, mask])
    # The intrinsic's pointer is opaque; alignment travels as an argument attribute, one element's size.
    name = f"llvm.masked.load.{_suffix(vty)}.p0"
    pointer = _vector_pointer(builder, pointer, vty)
    align = ir.Constant(ir.IntType(32), _bytes(vty.element))
    fn = _declare(builder, name, vty, [pointer.type, ir.IntType(32), mask.type, vty])
    return builder.call(fn, [pointer, align, mask, ir.Constant(vty, None)])


def _masked_store(builder, value, pointer, mask):
    vty = value.type
    name = f"llvm.masked.store.{_suffix(vty)}.p0"
    pointer = _vector_pointer(builder, pointer, vty)
    align = ir.Constant(ir.IntType(32), _bytes(vty.element))
    fn = _declare(builder, name, ir.VoidType(), [vty, pointer.type, ir.IntType(32), mask.type])
    builder.call(fn, [value, pointer, align, mask])


def _load_some(builder, pointer, vty, count):
    """Load the first `count` lanes, zero in the others.

    Only AVX-512 has masks that cost nothing: elsewhere a whole register goes without.
    """
    if VECTOR_BYTES == 64:
        return _masked_load(builder, pointer, vty, _tail_mask(builder, count, vty.count))
    whole = builder.icmp_signed(">=", count, ir.Constant(count.type, vty.count))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            all_lanes, after_all = _load(builder, pointer, vty), builder.block
        with otherwise:
            some_lanes = _masked_load(builder, pointer, vty, _tail_mask(builder, count, vty.count))
            after_some = builder.block
    value = builder.phi(vty)
    value.add_incoming(all_lanes, after_all)
    value.add_incoming(some_lanes, after_some)
    return value


def _store_some(builder, value, pointer, count):
    """Store the first `count` lanes; see `_load_some`.

    Fewer than all go by halves, quarters and so on (Zen 3 takes 17 cycles for a store with a mask, and 4 to 7 so).
    """
    if VECTOR_BYTES == 64:
        _masked_store(builder, value, pointer, _tail_mask(builder, count, value.type.count))
        return
    whole = builder.icmp_signed(">=", count, ir.Constant(count.type, value.type.count))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            _store(builder, value, pointer)
        with otherwise:
            none = ir.Constant(count.type, 0)
            left = builder.select(builder.icmp_signed(">", count, none), count, none)
            size = value.type.count // 2
            while size > 0:
                wanted = builder.icmp_signed("!=", builder.and_(left, ir.Constant(left.type, size)), none)
                value, pointer = _store_if(builder, wanted, size, value, pointer)
                size //= 2


def _store_if(builder, wanted, size, value, pointer):
    """Store `size` lanes if `wanted`; return the register, and the pointer, with what comes next in front."""
    before, lanes_ = builder.block, value.type.count
    with builder.if_then(wanted):
        _store(builder, _shuffle(builder, value, value, list(range(size))), pointer)
        moved = _shuffle(builder, value, value, [(i + size) % lanes_ for i in range(lanes_)])
        behind, inside = builder.gep(pointer, [ir.Constant(ir.IntType(64), size)]), builder.block
    results = []
    for now, then in ((value, moved), (pointer, behind)):
        phi = builder.phi(now.type)
        phi.add_incoming(now, before)
        phi.add_incoming(then, inside)
        results.append(phi)
    return results


def _bytes(element):
    return {"float": 4, "double": 8}.get(str(element)) or element.width // 8


def _load(builder, pointer, vty):
    value = builder.load(_vector_pointer(builder, pointer, vty))
    value.align = _bytes(vty.element)
    return value


def _store(builder, value, pointer):
    builder.store(value, _vector_pointer(builder, pointer, value.type)).align = _bytes(value.type.element)


# --- making, loading and storing vectors --------------------------------------------------------------------------


@intrinsic
def lanes(typingctx, like):
    """Lanes of one register for the dtype of an array, vector or float."""
    n = _like(like).lanes

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, n)

    return types.intp(like), codegen


@intrinsic
def itemsize(typingctx, like):
    """Bytes of one lane: 4 or 8, known when the kernel is compiled, so a branch on it costs nothing."""
    n = _like(like).dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, n)

    return types.intp(like), codegen


@intrinsic
def splat(typingctx, like, value):
    """Return a vector of the dtype of `like` with `value` in each lane."""
    vec = _like(like)

    def codegen(context, builder, sig, args):
        number = context.cast(builder, args[1], sig.args[1], vec.dtype)
        return _splat(builder, number, vec.lanes)

    return vec(like, value), codegen


@intrinsic
def load(typingctx, array, offset):
    """Return the vector at `array[offset:offset + lanes]`."""
    vec = _like(array)

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        return _load(builder, pointer, context.get_value_type(vec))

    return vec(array, types.intp), codegen


@intrinsic
def load_n(typingctx, array, offset, count):
    """Return the first `count` lanes at `array[offset:]`; the others are zero and their memory is not touched."""
    vec = _like(array)

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        return _load_some(builder, pointer, context.get_value_type(vec), args[2])

    return vec(array, types.intp, types.intp), codegen


@intrinsic
def load_n_doubles(typingctx, array, offset, count):
    """Return the first `count` of eight values at `array[offset:]` as float64; see `load_n`."""
    vec = Vector(types.float64, 8)

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        given = _load_some(builder, pointer, ir.VectorType(_element(array.dtype), vec.lanes), args[2])
        return given if array.dtype == vec.dtype else builder.fpext(given, context.get_value_type(vec))

    return vec(array, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, array, offset, vector):
    """Write a vector to `array[offset:offset + lanes]`."""

    def codegen(context, builder, sig, args):
        _store(builder, args[2], element(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def store_n(typingctx, array, offset, vector, count):
    """Write the first `count` lanes of a vector to `array[offset:]`; memory behind them is not touched."""

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        _store_some(builder, args[2], pointer, args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), codegen


@intrinsic
def store_n_as(typingctx, array, offset, vector, count):
    """Write as `store_n` does, each lane of a float64 vector rounded to the dtype of the array."""
    dtype = array.dtype

    def codegen(context, builder, sig, args):
        value = args[2]
        if dtype != vector.dtype:
            value = builder.fptrunc(value, ir.VectorType(_element(dtype), vector.lanes))
        _store_some(builder, value, element(context, builder, sig.args[0], args[0], args[1]), args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), codegen


# --- arithmetic ---------------------------------------------------------------------------------------------------


def _binary(op, float_name, int_name=None):
    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)

    @lower_builtin(op, Vector, Vector)
    def _lower(context, builder, sig, args):
        is_float = isinstance(sig.return_type.dtype, types.Float)
        return getattr(builder, float_name if is_float else int_name)(*args)


for _op, _float, _int in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", None),
    (operator.and_, None, "and_"),
    (operator.or_, None, "or_"),
    (operator.xor, None, "xor"),
    (operator.lshift, None, "shl"),
    (operator.rshift, None, "ashr"),
):
    _binary(_op, _float, _int)


def _comparison(op, symbol):
    @infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(Vector(types.boolean, args[0].lanes), *args)

    @lower_builtin(op, Vector, Vector)
    def _lower(context, builder, sig, args):
        if isinstance(sig.args[0].dtype, types.Float):
            # Ordered, except "not equal": a comparison with NaN is false as in IEEE and in NumPy.
            compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
            return compare(symbol, *args)
        return builder.icmp_signed(symbol, *args)


for _op, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _comparison(_op, _symbol)


@lower_cast(Vector, Vector)
def _same(context, builder, fromty, toty, value):
    return value


@intrinsic
def fma(typingctx, a, b, c):
    """Return `a * b + c` with one rounding; three vectors, or three floats of one dtype."""
    if not (a == b == c):
        raise TypeError(f"fma takes three of one type, got {a}, {b}, {c}")

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.fma", args[0].type, *args)

    return a(a, b, c), codegen


def _unary(name, doc):
    @intrinsic
    def operation(typingctx, a):
        def codegen(context, builder, sig, args):
            return _call(builder, name, args[0].type, args[0])

        return a(a), codegen

    operation.__doc__ = doc
    return operation


@intrinsic
def polynomial(typingctx, x, coefficients):
    """Return `c[0] + c[1] x + c[2] x**2 + ...` by Horner's rule in fused steps, for a vector and a tuple."""

    def codegen(context, builder, sig, args):
        parts = cgutils.unpack_tuple(builder, args[1])
        terms = [
            _splat(builder, context.cast(builder, part, of, x.dtype), x.lanes)
            for part, of in zip(parts, sig.args[1].types, strict=True)
        ]
        value = terms.pop()
        while terms:
            value = _call(builder, "llvm.fma", value.type, value, args[0], terms.pop())
        return value

    return x(x, coefficients), codegen


@intrinsic
def scale_by_power(typingctx, x, n):
    """Return `x * 2**n` with one rounding, for vectors of floats.

    `n` holds whole numbers from -1100 to 1100, or -190 to 190 for float32. Overflow gives infinity,
    underflow is gradual.
    """

    def codegen(context, builder, sig, args):
        x_, n_ = args
        single = x.dtype.bitwidth == 32
        if VECTOR_BYTES == 64:
            name = f"llvm.x86.avx512.mask.scalef.{'ps' if single else 'pd'}.512"
            all_lanes = ir.Constant(ir.IntType(x.lanes), -1)
            as_set = ir.Constant(ir.IntType(32), 4)  # rounding as the control register has it
            arguments = (x_, n_, ir.Constant(x_.type, None), all_lanes, as_set)
            return builder.call(_declare(builder, name, x_.type, [a.type for a in arguments]), arguments)
        # Two factors, 2**floor(n/2) and 2**ceil(n/2), because one would leave the range of the exponent.
        # Adding `magic` puts n, doubly biased, in the low bits.
        width, fraction, magic = (32, 23, 1.5 * 2**23 + 254) if single else (64, 52, 1.5 * 2**52 + 2046)
        vty = ir.VectorType(ir.IntType(width), x.lanes)
        bits = builder.bitcast(builder.fadd(n_, _constant(x_.type, magic)), vty)
        half = builder.lshr(bits, _constant(vty, 1))
        for part in (half, builder.sub(bits, half)):
            factor = builder.bitcast(builder.shl(part, _constant(vty, fraction)), x_.type)
            x_ = builder.fmul(x_, factor)
        return x_

    return x(x, n), codegen


sqrt = _unary("llvm.sqrt", "Square root, correctly rounded, of a vector or a float.")
absolute = _unary("llvm.fabs", "Absolute value of a vector or a float.")
nearest = _unary("llvm.rint", "Nearest whole number, ties to even, of a vector or a float.")


@intrinsic
def has_estimates(typingctx, like):
    """Tell, when the kernel is compiled, whether `root_estimate` and `reciprocal_estimate` are good to 14 bits."""
    vec = _like(like)
    good = _ESTIMATES and vec.dtype.bitwidth == 32 and vec.lanes == 16

    def codegen(context, builder, sig, args):
        return context.get_constant(types.boolean, good)

    return types.boolean(like), codegen


def _estimate(name, exact, doc):
    @intrinsic
    def operation(typingctx, a):
        def codegen(context, builder, sig, args):
            vty = args[0].type
            if not (_ESTIMATES and str(vty) == "<16 x float>"):
                return exact(builder, args[0])
            i16 = ir.IntType(16)
            fn = _declare(builder, f"llvm.x86.avx512.{name}.ps.512", vty, [vty, vty, i16])
            return builder.call(fn, [args[0], ir.Constant(vty, None), ir.Constant(i16, -1)])

        return a(a), codegen

    operation.__doc__ = doc
    return operation


def _exact_reciprocal(builder, value):
    return builder.fdiv(_constant(value.type, 1.0), value)


reciprocal_estimate = _estimate("rcp14", _exact_reciprocal, "About `1 / a`: to 14 bits, or exact; see `has_estimates`.")
root_estimate = _estimate(
    "rsqrt14",
    lambda builder, value: _exact_reciprocal(builder, _call(builder, "llvm.sqrt", value.type, value)),
    "About `1 / sqrt(a)`: to 14 bits, or exact; see `has_estimates`.",
)


@intrinsic
def select(typingctx, mask, a, b):
    """Return `a` where the mask is set and `b` elsewhere."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return a(mask, a, b), codegen


@intrinsic
def first_lanes(typingctx, a, count, other):
    """Return the first `count` lanes of `a`, and `other` in the rest."""

    def codegen(context, builder, sig, args):
        return builder.select(_tail_mask(builder, args[1], a.lanes), args[0], args[2])

    return a(a, types.intp, other), codegen


@intrinsic
def maximum(typingctx, a, b):
    """Lane-wise maximum: `a > b ? a : b`, so the second operand is returned where either is NaN."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), codegen


@intrinsic
def bits_of(typingctx, a):
    """Reinterpret a float vector as signed integers of the same width."""
    integer = types.int32 if a.dtype.bitwidth == 32 else types.int64
    out = Vector(integer, a.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(out))

    return out(a), codegen


@intrinsic
def from_bits(typingctx, a):
    """Reinterpret an integer vector as floats of the same width."""
    out = Vector(types.float32 if a.dtype.bitwidth == 32 else types.float64, a.lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], context.get_value_type(out))

    return out(a), codegen


@intrinsic
def to_int(typingctx, a):
    """Convert a float vector that holds whole numbers to integers of the same width."""
    out = Vector(types.int32 if a.dtype.bitwidth == 32 else types.int64, a.lanes)

    def codegen(context, builder, sig, args):
        return builder.fptosi(args[0], context.get_value_type(out))

    return out(a), codegen


@intrinsic
def to_float(typingctx, a):
    """Convert an integer vector to floats of the same width."""
    out = Vector(types.float32 if a.dtype.bitwidth == 32 else types.float64, a.lanes)

    def codegen(context, builder, sig, args):
        return builder.sitofp(args[0], context.get_value_type(out))

    return out(a), codegen


@intrinsic
def splat_int(typingctx, like, value):
    """Return an integer vector, as wide as a vector of `like`, with `value` in each lane."""
    vec = _like(like)
    out = Vector(types.int32 if vec.dtype.bitwidth == 32 else types.int64, vec.lanes)

    def codegen(context, builder, sig, args):
        return _splat(builder, context.cast(builder, args[1], sig.args[1], out.dtype), out.lanes)

    return out(like, value), codegen


@intrinsic
def ramp(typingctx, like, start):
    """Return the integer vector `start, start + 1, ...`, as wide as a vector of `like`."""
    vec = _like(like)
    out = Vector(types.int32 if vec.dtype.bitwidth == 32 else types.int64, vec.lanes)

    def codegen(context, builder, sig, args):
        first = _splat(builder, context.cast(builder, args[1], sig.args[1], out.dtype), out.lanes)
        return builder.add(first, ir.Constant(first.type, list(range(out.lanes))))

    return out(like, start), codegen


@intrinsic
def mask_bits(typingctx, mask):
    """Return a mask as an integer whose bit i tells lane i; the bits above the last lane are zero."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.lanes)), ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic
def store_word(typingctx, array, offset, word):
    """Store a 64-bit number, as it is, in the place of `array[offset]` and what follows it."""

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def words_with(typingctx, array, offset, mask):
    """Return a word whose bit i tells whether the i-th of the 64 words at `array[offset]` has a bit of `mask` set."""

    def codegen(context, builder, sig, args):
        i64 = ir.IntType(64)
        n = VECTOR_BYTES // 8
        vty = ir.VectorType(i64, n)
        pointer = builder.bitcast(element(context, builder, sig.args[0], args[0], args[1]), i64.as_pointer())
        wanted, word = _splat(builder, args[2], n), ir.Constant(i64, 0)
        for i in range(0, 64, n):
            place = builder.bitcast(builder.gep(pointer, [ir.Constant(i64, i)]), vty.as_pointer())
            some = builder.and_(builder.load(place, align=4), wanted)
            some = builder.icmp_signed("!=", some, ir.Constant(vty, None))
            bits = builder.zext(builder.bitcast(some, ir.IntType(n)), i64)
            word = builder.or_(word, builder.shl(bits, ir.Constant(i64, i)))
        return word

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def mask_of(typingctx, like, bits):
    """Return the mask, for a vector of `like`, whose lane i is set where bit i of an integer is."""
    out = Vector(types.boolean, _like(like).lanes)

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.trunc(args[1], ir.IntType(out.lanes)), context.get_value_type(out))

    return out(like, types.int64), codegen


def _reduction(step, doc):
    @intrinsic
    def operation(typingctx, a):
        def codegen(context, builder, sig, args):
            value, width = args[0], a.lanes
            while width > 1:
                width //= 2
                order = [i + width if i < width else i for i in range(a.lanes)]
                order = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), order)
                value = step(builder, value, builder.shuffle_vector(value, value, order))
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return a.dtype(a), codegen

    operation.__doc__ = doc
    return operation


sum_lanes = _reduction(lambda b, x, y: b.fadd(x, y), "Sum of the lanes, halves added pairwise (a fixed tree).")
max_lanes = _reduction(
    lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y), "Largest lane (the lanes must not be NaN)."
)


def _shuffle(builder, a, b, order):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def _transposed(builder, lines):
    """Transpose as many registers as they have lanes.

    A perfect shuffle of row i with row i + n/2, log2(n) times over, is a transposition.
    """
    n, step = len(lines), 1
    half = n // 2
    low = [i // 2 + (i % 2) * n for i in range(n)]
    high = [half + i for i in low]
    while step < n:
        pairs = [(lines[i], lines[i + half]) for i in range(half)]
        lines, step = [_shuffle(builder, *pair, order) for pair in pairs for order in (low, high)], step * 2
    return lines


def _transposed_by_quarters(builder, lines):
    """Transpose as `_transposed` does: first within quarters of 128 bits, then the quarters as wholes.

    Each step is one cheap instruction on AVX2, where a perfect shuffle takes two. Of as many registers as a quarter has
    lanes, each quarter is transposed for itself.
    """
    n, unit = lines[0].type.count, 1
    quarter = min(n, 16 // _bytes(lines[0].type.element))
    while unit < quarter:
        # Units of both, alternately: the first halves of the quarters, then the second ones.
        low = [
            at + half * n + i
            for at in range(0, n, quarter) for i0 in range(0, quarter // 2, unit)
            for half in range(2) for i in range(i0, i0 + unit)
        ]  # fmt: skip
        high = [i + quarter // 2 for i in low]
        turned = list(lines)
        for block in range(0, len(lines), 2 * unit):
            for i in range(block, block + unit):
                pair, place = (lines[i], lines[unit + i]), 2 * i - block
                turned[place], turned[place + 1] = (_shuffle(builder, *pair, which) for which in (low, high))
        lines, unit = turned, 2 * unit
    distance = quarter
    while distance < len(lines):
        # The even quarters of both, then the odd ones.
        even = [half * n + at + i for half in range(2) for at in range(0, n, 2 * quarter) for i in range(quarter)]
        odd = [i + quarter for i in even]
        turned = list(lines)
        for block in range(0, n, 2 * distance):
            for i in range(block, block + distance):
                pair = lines[i], lines[distance + i]
                turned[i], turned[distance + i] = (_shuffle(builder, *pair, which) for which in (even, odd))
        lines, distance = turned, 2 * distance
    return lines


@intrinsic
def transpose(typingctx, source, at, stride, rows, columns, target, target_at, target_stride):
    """Transpose a block of at most lanes × lanes: `target[j, i] = source[i, j]`.

    Read are `rows` × `columns` values at `source[at + i * stride + j]`, what lies beyond counts as zero and is not
    touched. Written are `columns` rows of `rows` values at `target[target_at + j * target_stride]`.
    """
    vec = _like(source)

    def emit(context, builder, sig, args, whole):
        n, vty = vec.lanes, context.get_value_type(vec)
        i64 = ir.IntType(64)
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        row_count, column_count = args[3], args[4]
        across, none = _tail_mask(builder, column_count, n), ir.Constant(ir.VectorType(ir.IntType(1), n), None)
        lines = []
        for i in range(n):
            if whole:
                lines.append(_load(builder, pointer, vty))
            else:
                inside = builder.icmp_signed("<", ir.Constant(i64, i), row_count)
                lines.append(_masked_load(builder, pointer, vty, builder.select(inside, across, none)))
            pointer = builder.gep(pointer, [args[2]])
        lines = _transposed_by_quarters(builder, lines) if _AVX2 else _transposed(builder, lines)
        pointer = element(context, builder, sig.args[5], args[5], args[6])
        out = builder.append_basic_block("turned")
        for j, line in enumerate(lines):
            if whole:
                _store(builder, line, pointer)
            else:
                more = builder.append_basic_block(f"column{j}")
                builder.cbranch(builder.icmp_signed("<", ir.Constant(i64, j), column_count), more, out)
                builder.position_at_end(more)
                _store_some(builder, line, pointer, row_count)
            pointer = builder.gep(pointer, [args[7]])
        builder.branch(out)
        builder.position_at_end(out)

    def codegen(context, builder, sig, args):
        lanes_ = ir.Constant(ir.IntType(64), vec.lanes)
        rows_fit = builder.icmp_signed(">=", args[3], lanes_)
        whole = builder.and_(rows_fit, builder.icmp_signed(">=", args[4], lanes_))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                emit(context, builder, sig, args, True)
            with otherwise:
                emit(context, builder, sig, args, False)
        return context.get_dummy_value()

    sig = types.void(source, *[types.intp] * 4, target, types.intp, types.intp)
    return sig, codegen


# --- the register tile --------------------------------------------------------------------------------------------

ZERO, FROM_VECTOR, FROM_OUTPUT = 0, 1, 2
KEEP, RELU, WHERE_POSITIVE = 0, 1, 2


def _relu(builder, value, zero):
    """Zero where below zero, else the value: NaN passes through, and it is one instruction on x86."""
    return builder.select(builder.fcmp_ordered("<", value, zero), zero, value)


def _tile_body(builder, vty, rows, vectors, masks, rest, a, b, c, start, finish, ask=None, chosen=None):
    """Emit one tile: `rows` × `vectors` accumulators held in registers over the whole reduction.

    `masks` has None for each whole register of columns, and a mask for one of `rest` lanes, which is the last.
    `a` is (pointer, row stride, step stride, steps), `b` (pointer, step stride), `c` (pointer, row stride),
    `start` (how, vector pointer), `finish` (how, pointer to the array whose sign decides). `ask`, if there is one,
    is (pointers, row stride, rows): what is prefetched meanwhile. `chosen`, if given, is (whether only some
    steps are taken, pointer to words with a bit for each step that is).
    """
    zero = ir.Constant(vty, None)
    i64 = ir.IntType(64)

    def column(pointer, v):
        return builder.gep(pointer, [ir.Constant(i64, v * vty.count)])

    def read(pointer, v):
        pointer = column(pointer, v)
        if masks[v] is None:
            return _load(builder, pointer, vty)
        return _masked_load(builder, pointer, vty, masks[v])

    def row(pointer, stride, r):
        return builder.gep(pointer, [builder.mul(stride, ir.Constant(i64, r))])

    cells = [[cgutils.alloca_once(builder, vty) for _ in range(vectors)] for _ in range(rows)]
    offsets = [builder.mul(a[1], ir.Constant(i64, r)) for r in range(rows)]
    if _BY_FOURS:
        # Left to itself, LLVM steps a pointer from row to row: 28 instructions a step of AVX2's tile instead of 24,
        # which are 12 % of its time where another thread shares the core.
        offsets = [_opaque(builder, offset) for offset in offsets]
    asked = _asker(builder, vty, vectors, a[3], *ask) if ask else None
    if _AVX2:
        # A line of each row, which the end of the tile would wait for (784-1024-1024-1024-10 backward: 1.04).
        with builder.if_then(builder.icmp_signed("==", finish[0], ir.Constant(finish[0].type, WHERE_POSITIVE))):
            for r in range(rows):
                _prefetch(builder, row(finish[1], c[1], r), False, 1)
    starts = [builder.append_basic_block(f"start{i}") for i in range(3)]
    loop, body, done = (builder.append_basic_block(n) for n in ("reduce", "step", "reduced"))
    switch = builder.switch(start[0], starts[0])
    switch.add_case(ir.Constant(start[0].type, FROM_VECTOR), starts[1])
    switch.add_case(ir.Constant(start[0].type, FROM_OUTPUT), starts[2])
    for how, block in enumerate(starts):
        builder.position_at_end(block)
        for v in range(vectors):
            shared = read(start[1], v) if how == FROM_VECTOR else zero
            for r in range(rows):
                value = read(row(c[0], c[1], r), v) if how == FROM_OUTPUT else shared
                builder.store(value, cells[r][v])
        builder.branch(loop)

    def step(pa, pb, place=lambda pa, r: builder.gep(pa, [offsets[r]]) if r else pa):
        line = [read(pb, v) for v in range(vectors)]
        for r in range(rows):
            factor = _splat(builder, builder.load(place(pa, r)), vty.count)
            for v in range(vectors):
                total = _call(builder, "llvm.fma", vty, factor, line[v], builder.load(cells[r][v]))
                builder.store(total, cells[r][v])

    builder.position_at_end(loop)
    if chosen:
        some, all_steps = builder.append_basic_block("some"), builder.append_basic_block("all")
        builder.cbranch(chosen[0], some, all_steps)
        builder.position_at_end(some)
        _chosen_steps(
            builder,
            a[3],
            chosen[1],
            asked,
            lambda k: step(builder.gep(a[0], [builder.mul(k, a[2])]), builder.gep(b[0], [builder.mul(k, b[1])])),
        )
        builder.branch(done)
        builder.position_at_end(all_steps)
    fours = offsets if _BY_FOURS and rows == TILE_ROWS and vectors == TILE_VECTORS else None
    _every_step(builder, a, b, asked, step, body, done, fours)

    builder.position_at_end(done)
    ends = [builder.append_basic_block(f"finish{i}") for i in range(3)]
    out = builder.append_basic_block("out")
    switch = builder.switch(finish[0], ends[0])
    switch.add_case(ir.Constant(finish[0].type, RELU), ends[1])
    switch.add_case(ir.Constant(finish[0].type, WHERE_POSITIVE), ends[2])
    for how, block in enumerate(ends):
        builder.position_at_end(block)
        for r in range(rows):
            target = row(c[0], c[1], r)
            for v in range(vectors):
                value = builder.load(cells[r][v])
                if how == RELU:
                    value = _relu(builder, value, zero)
                elif how == WHERE_POSITIVE:
                    sign = read(row(finish[1], c[1], r), v)
                    value = builder.select(builder.fcmp_ordered(">", sign, zero), value, zero)
                pointer = column(target, v)
                if masks[v] is None:
                    _store(builder, value, pointer)
                elif VECTOR_BYTES == 64:
                    # The mask is there already.
                    _masked_store(builder, value, pointer, masks[v])
                else:
                    _store_some(builder, value, pointer, rest)
        builder.branch(out)
    builder.position_at_end(out)


def _four_steps(builder, a, b, offsets, step, start, stop):
    """Emit steps four at a time from `start`, (number, pointer into a, pointer into b), while there are four of them.

    Return where they end. Within four all operands are reached from two pointers, by constants or by offsets in
    registers: on AVX2 21.5 instructions a step instead of 24, on AVX-512 37 instead of 42. Where another thread shares
    the core, tiles are 1.05 to 1.18 times as fast on Zen 3 and 1.05 to 1.15 times on Ice Lake; 784-512-512-10 on either
    is 1.07 times. Either the steps or the rows of `a` have to follow each other.

    Rejected: the first row's value as an operand of its multiply-adds, an instruction less a step, but three more reads
    (Ice Lake, 784-512-512-10: 0.93).
    """
    i64 = ir.IntType(64)
    four, one = ir.Constant(i64, 4), ir.Constant(i64, 1)
    limit = builder.sub(stop, four)
    ends = [(start, builder.block)]
    some, by_rows, done = (builder.append_basic_block(f"four.{n}") for n in ("some", "rows", "done"))
    builder.cbranch(builder.icmp_signed("<=", start[0], limit), some, done)
    forms = [builder.append_basic_block(f"four.{n}") for n in ("along", "across")]
    builder.position_at_end(some)
    builder.cbranch(builder.icmp_signed("==", a[2], one), forms[0], by_rows)
    builder.position_at_end(by_rows)
    ends.append((start, builder.block))
    builder.cbranch(builder.icmp_signed("==", a[1], one), forms[1], done)
    for along, form in zip((True, False), forms, strict=True):
        builder.position_at_end(form)
        down, twice = (_opaque(builder, builder.mul(b[1], ir.Constant(i64, u))) for u in (1, 2))
        # Where steps follow each other, offsets of rows (made anew, or they are read from the stack in the loop), and
        # where rows do, offsets of steps.
        far = offsets if along else [builder.mul(a[2], ir.Constant(i64, u)) for u in range(5)]
        far = [_opaque(builder, offset) for offset in far]
        loop = builder.append_basic_block("four.loop")
        builder.branch(loop)
        builder.position_at_end(loop)
        now = [builder.phi(v.type) for v in start]
        pb = now[2]
        for u in range(4):

            def place(pa, r, u=u, far=far, along=along):
                which, near = (r, u) if along else (u, r)
                return builder.gep(builder.gep(pa, [far[which]]) if which else pa, [ir.Constant(i64, near)])

            step(now[1], builder.gep(pb, [down]) if u % 2 else pb, place)
            if u % 2:
                # By twos: offsets of all four would not leave registers enough.
                pb = _opaque(builder, builder.gep(pb, [twice]))
        pa = _opaque(builder, builder.gep(now[1], [four if along else far[4]]))
        next_ = [builder.add(now[0], four), pa, pb]
        for phi, first, value in zip(now, start, next_, strict=True):
            phi.add_incoming(first, form)
            phi.add_incoming(value, builder.block)
        ends.append((next_, builder.block))
        builder.cbranch(builder.icmp_signed("<=", next_[0], limit), loop, done)
    builder.position_at_end(done)
    after = [builder.phi(v.type) for v in start]
    for values, block in ends:
        for phi, value in zip(after, values, strict=True):
            phi.add_incoming(value, block)
    return after


def _every_step(builder, a, b, asked, step, body, done, fours=None):
    """Emit `step(pointer into a, pointer into b)` for all steps, and leave for `done`; arguments as `_tile_body`.

    What is asked for on the way is asked for between loops of some steps, which hold nothing but the step itself.
    `fours`, if given, are the offsets of the rows of `a`, for `_four_steps`.
    """
    i64 = ir.IntType(64)
    none, one = ir.Constant(i64, 0), ir.Constant(i64, 1)
    before, outer, inner, after = builder.block, *(builder.append_basic_block(n) for n in ("every", "inner", "after"))
    builder.branch(outer)
    builder.position_at_end(outer)
    starts = [builder.phi(v.type) for v in (one, a[0], b[0], one)]
    for phi, value in zip(starts, (none, a[0], b[0], none), strict=True):
        phi.add_incoming(value, before)
    k, line = starts[0], starts[3]
    builder.cbranch(builder.icmp_signed("<", k, a[3]), body, done)
    builder.position_at_end(body)
    stop, following = asked(k, line) if asked else (a[3], line)
    entry = starts[:3]
    if fours is not None:
        entry = _four_steps(builder, a, b, fours, step, entry, stop)
        rest = builder.append_basic_block("rest")
        for phi, value in zip(starts, (*entry, following), strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", entry[0], stop), rest, outer)
        builder.position_at_end(rest)
    begin = builder.block
    builder.branch(inner)
    builder.position_at_end(inner)
    now = [builder.phi(v.type) for v in starts[:3]]
    step(*now[1:])
    end = builder.block
    next_ = [builder.add(now[0], one), builder.gep(now[1], [a[2]]), builder.gep(now[2], [b[1]])]
    if _BY_FOURS:
        # Or a second set of the rows' offsets, on the stack, is made for a second step.
        next_[1] = _opaque(builder, next_[1])
    for phi, value, first in zip(now, next_, entry, strict=True):
        phi.add_incoming(first, begin)
        phi.add_incoming(value, end)
    builder.cbranch(builder.icmp_signed("<", next_[0], stop), inner, after)
    builder.position_at_end(after)
    for phi, value in zip(starts, (*next_, following), strict=True):
        phi.add_incoming(value, after)
    builder.branch(outer)


def _chosen_steps(builder, steps, words, asked, step):
    """Emit `step(k)` for each `k` below `steps` whose bit is set in `words`, in increasing order.

    A branch at each step would be foretold wrongly too often: of the time saved a third was lost. What is asked for
    on the way is asked for at the beginning of each word.
    """
    i64 = ir.IntType(64)
    none, one, whole = (ir.Constant(i64, n) for n in (0, 1, 64))
    outer, inner, body, after, done = (
        builder.append_basic_block(name) for name in ("word", "bit", "chosen", "next.word", "chosen.done")
    )
    start = builder.block
    builder.branch(outer)
    builder.position_at_end(outer)
    first, pointer, due, line = (builder.phi(v.type) for v in (one, words, one, one))
    for phi, value in ((first, none), (pointer, words), (due, none), (line, none)):
        phi.add_incoming(value, start)
    some = builder.append_basic_block("some.bits")
    ask = builder.append_basic_block("ask.word") if asked else some
    builder.cbranch(builder.icmp_signed("<", first, steps), ask, done)
    later, following = due, line
    if asked:
        builder.position_at_end(ask)
        due_now, line_now = builder.phi(i64), builder.phi(i64)
        due_now.add_incoming(due, outer)
        line_now.add_incoming(line, outer)
        wanted = builder.append_basic_block("ask.wanted")
        end = builder.add(first, whole)
        end = builder.select(builder.icmp_signed("<", end, steps), end, steps)
        builder.cbranch(builder.icmp_signed("<", due_now, end), wanted, some)
        builder.position_at_end(wanted)
        stop, next_line = asked(due_now, line_now)
        due_now.add_incoming(stop, builder.block)
        line_now.add_incoming(next_line, builder.block)
        builder.branch(ask)
        later, following = due_now, line_now
    builder.position_at_end(some)
    word = builder.load(pointer)
    word.align = 4
    builder.branch(inner)
    builder.position_at_end(inner)
    bits = builder.phi(i64)
    bits.add_incoming(word, some)
    builder.cbranch(builder.icmp_signed("!=", bits, none), body, after)
    builder.position_at_end(body)
    step(builder.add(first, builder.cttz(bits, ir.Constant(ir.IntType(1), 1))))
    bits.add_incoming(builder.and_(bits, builder.sub(bits, one)), builder.block)
    builder.branch(inner)
    builder.position_at_end(after)
    for phi, value in (
        (first, builder.add(first, whole)),
        (pointer, builder.gep(pointer, [one])),
        (due, later),
        (line, following),
    ):
        phi.add_incoming(value, after)
    builder.branch(outer)
    builder.position_at_end(done)


def _prefetch(builder, pointer, writes, level=2):
    """Ask for a line in the cache of this level, the first or the second; no fault if none is there.

    Asked for reading only, a line that another core has read would be waited for again when it is written.
    """
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    i32 = ir.IntType(32)
    fn = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer.type, i32, i32, i32])
    builder.call(fn, [pointer, ir.Constant(i32, int(writes)), ir.Constant(i32, 4 - level), ir.Constant(i32, 1)])


def _prefetching(doc, writes, level=2):
    """Make an intrinsic that asks for the cache line of `array[offset]`."""

    def asking(typingctx, array, offset):
        def codegen(context, builder, sig, args):
            _prefetch(builder, element(context, builder, sig.args[0], args[0], args[1]), writes, level)
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    asking.__doc__ = doc
    return intrinsic(asking)


prefetch = _prefetching("Ask for the cache line of `array[offset]`, to be read.", False)
prefetch_to_write = _prefetching("Ask for the cache line of `array[offset]`, to be written.", True)
prefetch_first_level = _prefetching(
    "Ask for the cache line of `array[offset]` in the first-level cache, to be read.", False, 1
)


_LEAST_STEPS = 3
"""Logarithm, to base 2, of the fewest steps between rows that are asked for: shorter loops end too often."""


def _asker(builder, vty, vectors, steps, pointers, row, count):
    """Return what emits the prefetch of some rows of each array, and tells until when the next ones are not due.

    All of them at once would fill the queue of outstanding misses, and the tile's own loads would wait behind. The
    lines of a row go together: line by line, places cost as many instructions as three prefetches
    (784-1024-1024-1024-10 on Ice Lake: gradients 1.02 to 1.03).
    """
    i64 = ir.IntType(64)
    size = _bytes(vty.element)
    lines = max(1, vectors * vty.count * size // 64)
    one, none = ir.Constant(i64, 1), ir.Constant(i64, 0)
    reads = builder.icmp_signed("<", count, none)
    rows = builder.select(reads, builder.neg(count), count)

    def zeros_before(value):
        return builder.ctlz(builder.or_(value, one), ir.Constant(ir.IntType(1), 0))

    # Powers of two, such that all rows find room without a division, which takes as long as three steps.
    room = builder.sub(builder.sub(zeros_before(rows), zeros_before(steps)), one)
    least = ir.Constant(i64, _LEAST_STEPS)
    spare = builder.icmp_signed(">", room, least)
    gap = builder.shl(one, builder.select(spare, room, least))
    at_once = builder.shl(one, builder.select(spare, none, builder.sub(least, room)))

    def ask(arrays, at, writes):
        for pointer in arrays:
            first = builder.gep(pointer, [at])
            for i in range(lines):
                _prefetch(builder, builder.gep(first, [ir.Constant(i64, i * 64 // size)]), writes)

    def emit(k, number):
        """Ask for rows from `number` on; return until which step to go on from step `k`, and the row after them."""
        after = builder.add(number, at_once)
        after = builder.select(builder.icmp_signed("<", after, rows), after, rows)
        before, test, some, done = builder.block, *(builder.append_basic_block(f"ask.{n}") for n in ("if", "it", "end"))
        builder.branch(test)
        builder.position_at_end(test)
        this = builder.phi(i64)
        this.add_incoming(number, before)
        builder.cbranch(builder.icmp_signed("<", this, after), some, done)
        builder.position_at_end(some)
        at = builder.mul(this, row)
        with builder.if_else(reads) as (one_array, all_arrays):
            with one_array:
                ask(pointers[:1], at, False)
            with all_arrays:
                ask(pointers, at, True)
        this.add_incoming(builder.add(this, one), builder.block)
        builder.branch(test)
        builder.position_at_end(done)
        later = builder.add(k, gap)
        more = builder.and_(builder.icmp_signed("<", after, rows), builder.icmp_signed("<", later, steps))
        return builder.select(more, later, steps), after

    return emit


@intrinsic
def tile(
    typingctx, a, a_at, a_row, a_step, b, b_at, b_step, c, c_at, c_row, steps, rows, columns,
    start, start_vector, start_at, finish, sign, sign_at, ask, ask_at, ask_s1, ask_s2, ask_row, ask_rows,
    some, words, words_at,
):  # fmt: skip
    """Compute one tile of a product with its accumulators in registers.

    For `i < rows` and `j < columns`: `c[i, j] = finish(start(j) + sum_k a[i, k] * b[k, j])`, one fused
    multiply-add after the other in increasing `k`, so an element's bits depend on nothing but its own operands.

    `rows` is 1 to TILE_ROWS, or what TALL_ROWS has for so many columns, and `columns` 1 to TILE_VECTORS registers. `a`
    is read one value at a time at `a_at + i * a_row + k * a_step`, `b` in vectors at `b_at + k * b_step + j`, `c`
    written at `c_at + i * c_row + j`. `start` is ZERO, FROM_VECTOR (`start_vector[start_at + j]`) or FROM_OUTPUT;
    `finish` is KEEP, RELU or WHERE_POSITIVE (zero where `sign[sign_at + i * c_row + j]` is not positive).

    A whole tile prefetches on its way `ask_rows` rows of each of `ask`, `ask_s1` and `ask_s2`, to be written: `ask_row`
    apart, from `ask_at` on, a panel's columns of each. Where the number is negative, these are rows of `ask` alone, to
    be read.

    Where `some` is not 0, a tile of TILE_ROWS or SHORT_ROWS rows takes only the steps whose bits are set in the 64-bit
    words that lie, as bits, in `words` from `words_at` on.
    """
    vec = _like(c)

    def codegen(context, builder, sig, args):
        vty = context.get_value_type(vec)
        at = [element(context, builder, sig.args[i], args[i], args[j]) for i, j in ((0, 1), (4, 5), (7, 8))]
        begin = element(context, builder, sig.args[14], args[14], args[15])
        signs = element(context, builder, sig.args[17], args[17], args[18])
        asked = [element(context, builder, sig.args[i], args[i], args[20]) for i in (19, 21, 22)]
        count, columns_ = args[11], args[12]
        i64 = ir.IntType(64)
        full = ir.Constant(i64, TILE_VECTORS * vec.lanes)
        used = builder.sdiv(builder.add(columns_, ir.Constant(i64, vec.lanes - 1)), ir.Constant(i64, vec.lanes))
        is_full = builder.icmp_signed(">=", columns_, full)
        kind = builder.select(is_full, ir.Constant(i64, TILE_VECTORS + 1), used)
        which = builder.add(builder.mul(count, ir.Constant(i64, TILE_VECTORS + 2)), kind)
        words = builder.bitcast(element(context, builder, sig.args[26], args[26], args[27]), i64.as_pointer())
        chosen = builder.icmp_signed("!=", args[25], ir.Constant(i64, 0)), words
        done = builder.append_basic_block("tile.done")
        nothing = builder.append_basic_block("tile.none")
        switch = builder.switch(which, nothing)
        with builder.goto_block(nothing):
            builder.branch(done)
        for r in range(1, max(TALL_ROWS) + 1):
            for v in range(1, TILE_VECTORS + 2):
                if r > TILE_ROWS and r != TALL_ROWS[min(v, TILE_VECTORS)]:
                    continue
                block = builder.append_basic_block(f"tile.{r}.{v}")
                switch.add_case(ir.Constant(i64, r * (TILE_VECTORS + 2) + v), block)
                builder.position_at_end(block)
                vectors = min(v, TILE_VECTORS)
                masks, rest = [None] * vectors, None
                if v <= TILE_VECTORS:
                    rest = builder.sub(columns_, ir.Constant(i64, (vectors - 1) * vec.lanes))
                    masks[-1] = _some_lanes(builder, rest, vec.lanes)
                _tile_body(
                    builder, vty, r, vectors, masks, rest, (at[0], args[2], args[3], args[10]), (at[1], args[6]),
                    (at[2], args[9]), (args[13], begin), (args[16], signs),
                    (asked, args[23], args[24]) if r in (SHORT_ROWS, TILE_ROWS) and v > TILE_VECTORS else None,
                    chosen if r in (SHORT_ROWS, TILE_ROWS) else None,
                )  # fmt: skip
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    i = types.intp
    sig = types.void(
        a, i, i, i, b, i, i, c, i, i, i, i, i, i, start_vector, i, i, sign, i, ask, i, ask_s1, ask_s2, i, i, i, words, i
    )  # fmt: skip
    return sig, codegen


# --- what loops of narrow layers are made of, see `_simd_few` and `_simd_narrow` ----------------------------------

NARROW = 4
"""Most inputs, or outputs, of a layer whose loops are unrolled along them."""
_REGISTERS = 16 if VECTOR_BYTES == 32 else 32


def _loop(builder, stop, step, name, start=None):
    """Open a counted loop from `start`, or 0; return (index, function that closes it).

    Variables live in allocas, as LLVM likes it. Numbers are Python's or LLVM's.
    """
    i64 = ir.IntType(64)
    index = cgutils.alloca_once(builder, i64)
    step = ir.Constant(i64, step) if isinstance(step, int) else step
    builder.store(ir.Constant(i64, 0) if start is None else start, index)
    test, body, done = (builder.append_basic_block(f"{name}.{part}") for part in ("test", "body", "done"))
    builder.branch(test)
    builder.position_at_end(test)
    i = builder.load(index)
    builder.cbranch(builder.icmp_signed("<", i, stop), body, done)
    builder.position_at_end(body)

    def close():
        builder.store(builder.add(i, step), index)
        builder.branch(test)
        builder.position_at_end(done)

    return i, close


# --- the state of the core ----------------------------------------------------------------------------------------

_FLUSH = 0x8040
"""Bits of x86's control word: results, and operands, below the least normal number are zero."""


def _control(builder, name, word):
    """Call the instruction `name`, which takes x86's control word from memory or puts it there."""
    pointer = builder.bitcast(word, ir.IntType(8).as_pointer())
    builder.call(_declare(builder, f"llvm.x86.sse.{name}", ir.VoidType(), [pointer.type]), [pointer])


@intrinsic
def flush_tiny(typingctx):
    """Take numbers below the least normal one for zero from here on; return what `as_before` needs.

    Arithmetic with such numbers takes 150 cycles on some x86 processors: where a network is sure of its samples, many
    of its gradients are that small (784-512-512-10 on Ice Lake after 2,000 steps on labels learnt by heart: 16 ms a
    step, now 2.5). Elsewhere this does nothing.
    """

    def codegen(context, builder, sig, args):
        i32 = ir.IntType(32)
        if not _IS_X86:
            return ir.Constant(i32, 0)
        word = cgutils.alloca_once(builder, i32)
        _control(builder, "stmxcsr", word)
        before = builder.load(word)
        builder.store(builder.or_(before, ir.Constant(i32, _FLUSH)), word)
        _control(builder, "ldmxcsr", word)
        return before

    return types.int32(), codegen


@intrinsic
def as_before(typingctx, mode):
    """Undo `flush_tiny`, which returned `mode`."""

    def codegen(context, builder, sig, args):
        if _IS_X86:
            word = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(args[0], word)
            _control(builder, "ldmxcsr", word)
        return context.get_dummy_value()

    return types.void(types.int32), codegen


@intrinsic
def ticks(typingctx):
    """Return a count that rises evenly with time; always 0 on processors other than x86."""

    def codegen(context, builder, sig, args):
        i64 = ir.IntType(64)
        if not _IS_X86:
            return ir.Constant(i64, 0)
        return builder.call(_declare(builder, "llvm.readcyclecounter", i64, []), [])

    return types.int64(), codegen


# --- threads that meet --------------------------------------------------------------------------------------------


@intrinsic
def atomic_add(typingctx, array, offset, value):
    """Add to `array[offset]` (64-bit integers) at once for all threads; return what was there before."""

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_read(typingctx, array, offset):
    """Read `array[offset]` (64-bit integers) as other threads last wrote it."""

    def codegen(context, builder, sig, args):
        pointer = element(context, builder, sig.args[0], args[0], args[1])
        return builder.load_atomic(pointer, ordering="seq_cst", align=8)

    return types.int64(array, types.intp), codegen


@intrinsic
def spin_pause(typingctx):
    """Tell the core that this thread spins, so that it yields resources to its sibling."""

    def codegen(context, builder, sig, args):
        if _IS_X86:
            builder.call(_declare(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif VECTOR_BYTES == 16:
            hint = _declare(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.IntType(32)])
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_core(typingctx):
    """Let another thread have this core: for a wait that has become long (nothing on Windows)."""

    def codegen(context, builder, sig, args):
        if platform.system() != "Windows":
            builder.call(_declare(builder, "sched_yield", ir.IntType(32), []), [])
        return context.get_dummy_value()

    return types.void(), codegen
