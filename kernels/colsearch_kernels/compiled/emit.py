"""LLVM IR for the inner loops: query tokens in the SIMD lanes, document values broadcast, max fused.

One tile multiplies some document tokens with 1 or 2 vectors of LANES query tokens. Its sums stay in registers over
all dims, and no matrix of similarities is ever written: only the running maxima of each vector leave a tile.

Every arithmetic reads a document in steps of one 32-bit word, against 4 bytes of each of LANES query tokens: four
dims of int8, two of bfloat16, one of float32. One generator therefore serves them all, and instruction sets differ
only in the `step` of an arithmetic (see arithmetic.py).
"""

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from colsearch_kernels.runtime.tiers import LANES, VECTOR_BYTES, tier

# In a compiled function an array argument is the address of its first element; for mypy it is an array.
Address: TypeAlias = Any

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
V16I32, V16F32 = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)

Values = list[Any]
# Bytes of a cache line, the unit of prefetching.
LINE_BYTES = 64


def emitted(generate: Callable[..., Any], result: Any = types.void) -> Any:
    """An intrinsic whose body `generate(builder, *arguments)` writes; arguments are integers or addresses."""

    def function(typing_context: Any, *arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value = generate(builder, *values)
            return context.get_dummy_value() if value is None else value

        return result(*[types.int64] * len(arguments)), codegen

    # Numba takes the number of arguments from here, and it takes no *arguments.
    function.__signature__ = inspect.signature(generate)  # type: ignore[attr-defined]
    return intrinsic(function)


def number(value: int) -> Any:
    return ir.Constant(I64, value)


def constant(type_: Any, value: Any) -> Any:
    """The value, in every lane of a vector type."""
    return ir.Constant(type_, [value] * type_.count if isinstance(type_, ir.VectorType) else value)


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """The scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    first_lane = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0))
    return shuffle(builder, first_lane, [0] * lanes)


def shuffle(builder: Any, vector: Any, lanes: Sequence[int]) -> Any:
    """The named lanes of one vector."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def halves(builder: Any, vector: Any, lanes: int) -> Values:
    """A vector in pieces of `lanes` lanes."""
    return [
        shuffle(builder, vector, range(start, start + lanes)) for start in range(0, vector.type.count, lanes)
    ]


def joined(builder: Any, pieces: Values) -> Any:
    """Inverse of `halves`, of 2 or 4 pieces."""
    while len(pieces) > 1:
        lanes = range(2 * pieces[0].type.count)
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        pieces = [builder.shuffle_vector(a, b, mask) for a, b in zip(pieces[::2], pieces[1::2])]
    return pieces[0]


def load(builder: Any, address: Any, type_: Any, align: int = 1) -> Any:
    return builder.load(builder.inttoptr(address, type_.as_pointer()), align=align)


def store(builder: Any, value: Any, address: Any, align: int = 1) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=align)


def call(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Call an LLVM intrinsic by name."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def opaque(builder: Any, value: Any) -> Any:
    """The same 64-bit number, in a register of its own.

    LLVM would otherwise compute the addresses of a tile's rows again at each word. On Cascade Lake these are too
    many instructions: 0.64 of the multiply-add peak with one vector, where a pointer to each row gives 0.82.
    """
    return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [value], False)


def repeat(builder: Any, n_turns: Any, values: Values, turn: Callable[[Values], Values]) -> Values:
    """Apply `turn` n_turns times, first to `values` and then to its own results; values stay in registers."""
    before = builder.block
    body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", n_turns, number(0)), body, after)
    builder.position_at_end(body)
    left, carried = builder.phi(I64), [builder.phi(value.type) for value in values]
    updated = turn(carried)
    still_left = builder.sub(left, number(1))
    end = builder.block
    builder.cbranch(builder.icmp_signed(">", still_left, number(0)), body, after)
    builder.position_at_end(after)
    results = [builder.phi(value.type) for value in values]
    for phi, old, new in zip(
        [left, *carried, *results], [n_turns, *values, *values], [still_left, *updated, *updated]
    ):
        phi.add_incoming(old, before)
        phi.add_incoming(new, end)
    return results


def tile(arithmetic: Any, n_tokens: int, n_vectors: int) -> Any:
    """Intrinsic of `tile_body`."""
    return emitted(tile_body(arithmetic, n_tokens, n_vectors, tier().words_per_turn), types.int64)


def tile_with_prefetch(arithmetic: Any, n_tokens: int, n_vectors: int) -> Any:
    """`tile` with one more address, of memory that will be read soon: it prefetches as many bytes as the tile reads.

    The prefetches are spread over the multiply-adds. As a burst they would fill the queue of outstanding lines, and
    the tile would wait. Documents in order from memory take 57 ns a token with 16 query tokens this way, close to
    the rate of memory, where the hardware's own prefetching takes 79 ns (Cascade Lake).
    """
    shape = n_tokens, n_vectors, tier().words_per_turn

    def generate(
        builder: Any,
        rows: Any,
        row_bytes: Any,
        n_words: Any,
        query: Any,
        initial: Any,
        widths: Any,
        maxima: Any,
        ahead: Any,
    ) -> Any:
        dots = _dots(builder, arithmetic, shape, rows, row_bytes, n_words, query, initial, ahead)
        return _max_into(builder, arithmetic, n_vectors, dots, widths, maxima)

    return emitted(generate, types.int64)


def tile_body(arithmetic: Any, n_tokens: int, n_vectors: int, words_per_turn: int) -> Callable[..., Any]:
    """Body for arguments (rows, row_bytes, n_words, query, initial, widths, maxima) -> 1 if a similarity is not finite.

    All arguments but row_bytes and n_words are addresses; query, initial and maxima are aligned to VECTOR_BYTES.

    rows: n_tokens rows of n_words 32-bit words each, row_bytes apart; query: n_words x n_vectors x VECTOR_BYTES;
    initial: n_vectors x LANES first values of the sums; widths: n_tokens float32; maxima: n_vectors x LANES
    float32, which are raised to the similarities that are larger.
    """
    shape = n_tokens, n_vectors, words_per_turn

    def generate(
        builder: Any,
        rows: Any,
        row_bytes: Any,
        n_words: Any,
        query: Any,
        initial: Any,
        widths: Any,
        maxima: Any,
    ) -> Any:
        dots = _dots(builder, arithmetic, shape, rows, row_bytes, n_words, query, initial)
        return _max_into(builder, arithmetic, n_vectors, dots, widths, maxima)

    return generate


def product_tile(arithmetic: Any, n_tokens: int, n_vectors: int) -> Any:
    """Intrinsic (rows, row_bytes, n_words, query, initial, widths, scales, products, products_bytes).

    The arguments are those of `tile_body`; scales: n_vectors x LANES float32, the factors of the similarities;
    products: n_tokens rows of n_vectors x LANES float32, products_bytes apart.
    """

    def generate(
        builder: Any,
        rows: Any,
        row_bytes: Any,
        n_words: Any,
        query: Any,
        initial: Any,
        widths: Any,
        scales: Any,
        products: Any,
        products_bytes: Any,
    ) -> None:
        shape = n_tokens, n_vectors, tier().words_per_turn
        dots = _dots(builder, arithmetic, shape, rows, row_bytes, n_words, query, initial)
        for v in range(n_vectors):
            scale = load(builder, builder.add(scales, number(VECTOR_BYTES * v)), V16F32, VECTOR_BYTES)
            to = builder.add(products, number(VECTOR_BYTES * v))
            for token in range(n_tokens):
                width = builder.add(widths, number(4 * token))
                similarity = arithmetic.similarity(builder, dots[token * n_vectors + v], width)
                store(builder, builder.fmul(similarity, scale), to, 4)
                to = builder.add(to, products_bytes)

    return emitted(generate)


def _dots(
    builder: Any,
    arithmetic: Any,
    shape: tuple[int, int, int],
    rows: Any,
    row_bytes: Any,
    n_words: Any,
    query: Any,
    initial: Any,
    ahead: Any = None,
) -> Values:
    """Sums of (document tokens, vectors of query tokens), token by token; `shape` also has the words per turn."""
    n_tokens, n_vectors, words_per_turn = shape
    n_lines = 0 if ahead is None else lines_per_turn(n_tokens)

    def steps(values: Values, n_words: int) -> Values:
        ahead, at, sums = values[0], values[1], values[n_tokens + 2 :]
        starts = [opaque(builder, start) for start in values[2 : n_tokens + 2]]
        if n_words == words_per_turn:
            for _ in range(n_lines):
                prefetch_line(builder, ahead)
                ahead = builder.add(ahead, number(LINE_BYTES))
        for word in range(n_words):
            queries = [
                load(builder, builder.add(at, number(VECTOR_BYTES * v)), arithmetic.vector, VECTOR_BYTES)
                for v in range(n_vectors)
            ]
            at = builder.add(at, number(VECTOR_BYTES * n_vectors))
            words = [load(builder, builder.add(start, number(4 * word)), arithmetic.word) for start in starts]
            values = [arithmetic.document_value(builder, word_of_row) for word_of_row in words]
            pairs = itertools.product(values, queries)
            sums = [arithmetic.step(builder, total, *pair) for total, pair in zip(sums, pairs)]
        return [ahead, at, *(builder.add(start, number(4 * n_words)) for start in starts), *sums]

    first = [
        arithmetic.initial(builder, builder.add(initial, number(VECTOR_BYTES * v))) for v in range(n_vectors)
    ]
    starts = [rows]
    while len(starts) < n_tokens:
        starts.append(builder.add(starts[-1], row_bytes))
    values = [rows if ahead is None else ahead, query, *starts, *first * n_tokens]
    n_turns = builder.udiv(n_words, number(words_per_turn))
    values = repeat(builder, n_turns, values, lambda values: steps(values, words_per_turn))
    n_left = builder.urem(n_words, number(words_per_turn))
    return repeat(builder, n_left, values, lambda values: steps(values, 1))[n_tokens + 2 :]


def lines_per_turn(n_tokens: int) -> int:
    """Whole cache lines that one turn of a tile's loop reads."""
    return n_tokens * tier().words_per_turn * 4 // LINE_BYTES


def _max_into(builder: Any, arithmetic: Any, n_vectors: int, dots: Values, widths: Any, maxima: Any) -> Any:
    """Raise n_vectors x LANES float32 to the larger similarities; 1 if a similarity is not finite."""
    n_tokens = len(dots) // n_vectors
    for v in range(n_vectors):
        at = builder.add(maxima, number(VECTOR_BYTES * v))
        # Several chains of maxima, since each maximum waits for the one before it.
        bests = [load(builder, at, V16F32, VECTOR_BYTES)] + [constant(V16F32, -math.inf)] * (n_tokens // 4)
        for token in range(n_tokens):
            width = builder.add(widths, number(4 * token))
            similarity = arithmetic.similarity(builder, dots[token * n_vectors + v], width)
            i = token % len(bests)
            bests[i] = _larger(builder, similarity, bests[i])
        while len(bests) > 1:
            bests.append(_larger(builder, bests.pop(0), bests.pop(0)))
        store(builder, bests[0], at, VECTOR_BYTES)
    return arithmetic.not_finite(builder, dots[::n_vectors])


def _larger(builder: Any, value: Any, best: Any) -> Any:
    """The larger of both in each lane; `best` where the value is NaN."""
    return builder.select(builder.fcmp_ordered(">", value, best), value, best)


def prefetch_line(builder: Any, address: Any) -> None:
    function_type = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    # Arguments: a read, of data that will be used soon, so keep it in all levels of cache.
    builder.call(function, [builder.inttoptr(address, I8.as_pointer()), I32(0), I32(3), I32(1)])


def _prefetch(builder: Any, address: Any, n_bytes: Any) -> None:
    n_lines = builder.sdiv(builder.add(n_bytes, number(LINE_BYTES - 1)), number(LINE_BYTES))
    with cgutils.for_range(builder, n_lines) as lines:
        prefetch_line(builder, builder.add(address, builder.mul(lines.index, number(LINE_BYTES))))


# Intrinsic (address, n_bytes).
prefetch = emitted(_prefetch)


def lay_side_by_side(builder: Any, starts: Values, n_words: Any, out: Any, out_bytes: Any) -> None:
    """Word w of the LANES rows that start at these addresses goes to out + w * out_bytes."""

    def block(word: Any, n: int) -> None:
        """n words of each row from `word` on: n x LANES words out."""
        offset = builder.mul(word, number(4))
        words = [load(builder, builder.add(start, offset), ir.VectorType(I32, n)) for start in starts]
        to = builder.add(out, builder.mul(word, out_bytes))
        for vector in transposed(builder, words):
            store(builder, vector, to, 4)
            to = builder.add(to, out_bytes)

    whole = builder.udiv(n_words, number(LANES))
    with cgutils.for_range(builder, whole) as blocks:
        block(builder.mul(blocks.index, number(LANES)), LANES)
    done = builder.mul(whole, number(LANES))
    with cgutils.for_range(builder, builder.sub(n_words, done)) as words:
        block(builder.add(done, words.index), 1)


def _lay_into_lanes(builder: Any, rows: Any, row_bytes: Any, n_words: Any, out: Any, out_bytes: Any) -> None:
    starts = [rows]
    while len(starts) < LANES:
        starts.append(builder.add(starts[-1], row_bytes))
    lay_side_by_side(builder, starts, n_words, out, out_bytes)


def transposed(builder: Any, rows: Values) -> Values:
    """LANES vectors of n lanes -> n vectors of LANES lanes, by log2(LANES) perfect shuffles."""
    for _ in range(LANES.bit_length() - 1):
        n, half = rows[0].type.count, len(rows) // 2
        lanes = [lane // 2 + lane % 2 * n for lane in range(2 * n)]
        parts = [lanes] if 2 * n <= LANES else [lanes[:n], lanes[n:]]
        masks = [ir.Constant(ir.VectorType(I32, len(part)), part) for part in parts]
        rows = [
            builder.shuffle_vector(a, b, mask) for a, b in zip(rows[:half], rows[half:]) for mask in masks
        ]
    return rows


# Intrinsic (rows, row_bytes, n_words, out, out_bytes): word w of LANES rows goes to out + w * out_bytes.
lay_into_lanes = emitted(_lay_into_lanes)


def square_root(numba_type: Any) -> Any:
    """Intrinsic of one number; NumPy's square root would call the C library to handle negative numbers."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def root(typing_context: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            type_ = context.get_value_type(numba_type)
            return call(builder, f"llvm.sqrt.f{numba_type.bitwidth}", type_, values)

        return numba_type(numba_type), codegen

    return root


sqrt_f32, sqrt_f64 = square_root(types.float32), square_root(types.float64)


def row_view(element: Any) -> Any:
    """Intrinsic (address, length) -> an array over memory that it does not own.

    LLVM vectorizes loops over such arrays, but not loops over addresses.
    """
    array_type = types.Array(element, 1, "C")

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def view(typing_context: Any, address: Any, length: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address, length = values
            item = context.get_data_type(element)
            item_bytes = number(context.get_abi_sizeof(item))
            array = context.make_array(array_type)(context, builder)
            data = builder.inttoptr(address, item.as_pointer())
            populate_array(array, data, [length], [item_bytes], item_bytes, None)
            return array._getvalue()

        return array_type(types.int64, types.int64), codegen

    return view


f32_row, i32_row, i8_row = row_view(types.float32), row_view(types.int32), row_view(types.int8)


def _element_address(builder: Any, address: Any, index: Any, bits: int) -> Any:
    return builder.add(address, builder.mul(index, number(bits // 8)))


def reader(element: Any, bits: int, result: Any) -> Any:
    """Intrinsic (address, index) -> element of a C array."""

    def generate(builder: Any, address: Any, index: Any) -> Any:
        return load(builder, _element_address(builder, address, index, bits), element, bits // 8)

    return emitted(generate, result)


def writer(bits: int, numba_type: Any) -> Any:
    """Intrinsic (address, index, value) that stores into a C array."""

    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def write(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address, index, value = values
            store(builder, value, _element_address(builder, address, index, bits), bits // 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, numba_type), codegen

    return write


read_i64, read_i8 = reader(I64, 64, types.int64), reader(I8, 8, types.int8)
read_u8 = reader(I8, 8, types.uint8)
read_f64 = reader(F64, 64, types.float64)
read_i32, read_f32 = reader(I32, 32, types.int32), reader(F32, 32, types.float32)
write_f32, write_i32 = writer(32, types.float32), writer(32, types.int32)
write_i64, write_f64 = writer(64, types.int64), writer(64, types.float64)
write_i8 = writer(8, types.int8)
