"""LLVM IR of the steps of a rotation, LANES tokens side by side in the lanes of a vector."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from colsearch_kernels.compiled.emit import V16F32, emitted, load, splat, store


def _butterfly(builder: Any, at: Any, step: Any) -> None:
    """Replace a and b by a + b and a - b: the vectors at two addresses, `step` bytes apart."""
    other = builder.add(at, step)
    a, b = load(builder, at, V16F32, 4), load(builder, other, V16F32, 4)
    store(builder, builder.fadd(a, b), at, 4)
    store(builder, builder.fsub(a, b), other, 4)


def _double_butterfly(builder: Any, at: Any, step: Any) -> None:
    """Butterflies of four vectors, `step` bytes apart: of neighbours, then of those two steps apart."""
    places = [at]
    while len(places) < 4:
        places.append(builder.add(places[-1], step))
    a, b, c, d = (load(builder, place, V16F32, 4) for place in places)
    a, b = builder.fadd(a, b), builder.fsub(a, b)
    c, d = builder.fadd(c, d), builder.fsub(c, d)
    results = builder.fadd(a, c), builder.fadd(b, d), builder.fsub(a, c), builder.fsub(b, d)
    for place, result in zip(places, results):
        store(builder, result, place, 4)


butterfly, double_butterfly = emitted(_butterfly), emitted(_double_butterfly)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def scale_lanes(typing_context: Any, at: Any, factor: Any) -> Any:
    """Multiply the vector at an address with a float32."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at, factor = values
        store(builder, builder.fmul(load(builder, at, V16F32, 4), splat(builder, factor)), at, 4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen
