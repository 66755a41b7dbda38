"""Arithmetic on runs of neighbouring float32 as wide as the processor has it.

The compiler unrolls short loops over lanes into single numbers before it looks for vectors, so the vectors are
written out. Every lane is computed alike, whatever their number: a slice does not depend on those beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["add_two"]


@cache
def add_two(lanes: int) -> Callable[..., None]:
    """Return ``out[i:i + lanes] += a source[j:j + lanes] + b source[k:k + lanes]`` on flat float32 arrays."""

    @intrinsic
    def run(typing: Any, out: Any, i: Any, source: Any, a: Any, j: Any, b: Any, k: Any) -> Any:
        signature = types.void(out, types.intp, source, types.float32, types.intp, types.float32, types.intp)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), lanes)

            def pointer(array: int, index: int) -> Any:
                data = context.make_array(signature.args[array])(context, builder, args[array]).data
                return builder.bitcast(builder.gep(data, [args[index]]), vector.as_pointer())

            def spread(index: int) -> Any:
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[index], ir.IntType(32)(0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

            def term(weight: int, index: int) -> Any:
                return builder.fmul(spread(weight), builder.load(pointer(2, index), align=4), flags=("contract",))

            target = pointer(0, 1)
            total = builder.fadd(builder.load(target, align=4), term(3, 4), flags=("contract",))
            total = builder.fadd(total, term(5, 6), flags=("contract",))
            builder.store(total, target, align=4)
            return context.get_dummy_value()

        return signature, generate

    return run
