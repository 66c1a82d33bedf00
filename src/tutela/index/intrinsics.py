"""Operations of the compiler that numba does not offer: bit counts, prefetch, tag comparison."""

# Types are numba's to infer, and its signatures fixed.
# mypy: ignore-errors
# ruff: noqa: ARG001

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 32
"""Tags that `near` compares at once."""


@intrinsic
def popcount(typingctx, value):
    """Number of set bits of a uint64, as int64."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def lowest(typingctx, value):
    """Position of the lowest set bit of a uint32 that is not 0, as int64."""

    def codegen(context, builder, signature, args):
        found = builder.cttz(args[0], cgutils.true_bit)
        return builder.zext(found, ir.IntType(64))

    return types.int64(types.uint32), codegen


@intrinsic
def fetch(typingctx, array, position):
    """Ask for the cache line of `array[position]` (along the first axis); never waits or faults."""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        held = context.make_array(kind)(context, builder, args[0])
        byte = ir.IntType(8)
        if kind.ndim == 1:
            item = context.get_data_type(kind.dtype)
            address = builder.gep(held.data, [args[1]], source_etype=item)
        else:
            step = builder.extract_value(held.strides, 0)
            base = builder.bitcast(held.data, byte.as_pointer())
            address = builder.gep(base, [builder.mul(args[1], step)], source_etype=byte)
        address = builder.bitcast(address, byte.as_pointer())
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(prefetch, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    if not isinstance(array, types.Array):
        return None
    return types.void(array, types.int64), codegen


@intrinsic
def near(typingctx, tags, position, tag, bound):
    """Which of `LANES` tags from `position` on differ from `tag` in at most `bound` bits.

    Bit i of the uint32 returned stands for `tags[position + i]`.
    """

    def codegen(context, builder, signature, args):
        held = context.make_array(signature.args[0])(context, builder, args[0])
        lane = ir.IntType(16)
        vector = ir.VectorType(lane, LANES)
        address = builder.gep(held.data, [args[1]], source_etype=lane)
        address = builder.bitcast(address, vector.as_pointer())
        found = builder.load(address, align=2, typ=vector)

        def spread(value):
            one = builder.insert_element(
                ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

        shape = ir.FunctionType(vector, [vector])
        count = cgutils.get_or_insert_function(builder.module, shape, f"llvm.ctpop.v{LANES}i16")
        apart = builder.call(count, [builder.xor(found, spread(args[2]))])
        limit = spread(builder.trunc(args[3], lane))
        return builder.bitcast(builder.icmp_unsigned("<=", apart, limit), ir.IntType(LANES))

    return types.uint32(tags, types.int64, types.uint16, types.int64), codegen
