"""Groups of arguments that kernels take together: named tuples of arrays and numbers.

These are the only definitions of their fields. Modules outside of compiled/ fill them with arrays; in a compiled
function, an array is the address of its first element (see compiled/entry.py).
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I8: TypeAlias = NDArray[np.int8]
U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]

# Kinds of document rows: bytes, planes of so many bits each, or signed bytes. Kernels are compiled for all of them.
BYTES, BITS_4, BITS_2, BITS_1, BITS_4_4, BITS_2_6, SIGNED = range(7)
# Types of float rows.
FLOAT32, FLOAT16, BFLOAT16 = range(3)
# Above this, 2 * sum(q * u) of one token could leave 32 bits.
MAX_PADDED_DIM = 32768
# Results of packing a float query that cannot be scored.
NOT_FINITE, OVERFLOWS = 1, 2


class TokenFormat(NamedTuple):
    """The format of a document token's row.

    Attributes:
        kind: one of the kinds of rows above.
        row_bytes0, row_bytes1: bytes of a row in each plane; row_bytes1 is 0 without a second plane.
        scale: the factor of the widths.
        n_dims: dims of a row as a tile reads it, a multiple of 4.
        center: similarity = (2 * sum(q * u) - center * sum(q)) * width * scale.
    """

    kind: int
    row_bytes0: int
    row_bytes1: int
    scale: np.float32
    n_dims: int
    center: int


class TokenLayout(NamedTuple):
    """The documents of one segment, end to end.

    Attributes:
        plane0, plane1: (n_tokens, row bytes) uint8 or int8; the same array twice if there is one plane.
        widths: (n_tokens,) float16 bits, or float32 for signed bytes.
        offsets: (n_docs + 1,) int64 first tokens.
    """

    format: TokenFormat
    plane0: NDArray[Any]
    plane1: NDArray[Any]
    widths: NDArray[Any]
    offsets: I64
    n_docs: int


class DocumentTable(NamedTuple):
    """Documents of several segments, each with addresses of its own.

    Attributes:
        planes0, planes1, widths: (n_docs,) int64 addresses of each document's first token.
        doclens: (n_docs,) int64 numbers of tokens.
    """

    format: TokenFormat
    planes0: I64
    planes1: I64
    widths: I64
    doclens: I64


class PackedQueries(NamedTuple):
    """Queries laid into lanes, each from a vector of LANES lanes of its own on; all in one block of memory.

    Attributes:
        memory: the block, aligned to VECTOR_BYTES. It begins with the values: (n_vectors, LANES * n_dims) int8, in
            the order in which tiles read them.
        initial: place in the block, in bytes, of (n_vectors, LANES) int32, the first values of the sums.
        scales: place of (n_vectors, LANES) float32, 0 where no query token is.
        starts: place of (n_queries + 1,) int64, the first vector of each query.
        scratch: place of memory that a kernel over codes writes to; for one thread.
    """

    memory: U8
    initial: int
    scales: int
    starts: int
    scratch: int
    n_queries: int
    n_vectors: int


class Rotation(NamedTuple):
    """One orthogonal transform of `n_dims` coordinates, see layout/rotation.py.

    Attributes:
        multipliers: (n_rounds, n_dims) float32, the random signs times the factor that makes each round orthogonal.
        block: the power of two that the Hadamard transforms act on.
    """

    multipliers: F32
    n_rounds: int
    n_dims: int
    block: int


class CodeGrid(NamedTuple):
    """The grid that rotated tokens are put on, and the planes that its cells are stored in.

    Attributes:
        prefix_bits: (n_planes,) int64, bits of the first plane, of the first two.
        span_factor, rms_factor: the grid is as wide as the smaller of two products: of span_factor and the
            largest |x|, and of rms_factor and the root mean square.
        blocks: (n_blocks, 4) int64, see `codes.stored_blocks`.
    """

    prefix_bits: I64
    n_planes: int
    span_factor: np.float32
    rms_factor: np.float32
    blocks: I64
    n_blocks: int


class EncodedPlanes(NamedTuple):
    """The output of encoding.

    Attributes:
        plane0, plane1: (n_tokens, row bytes) uint8; the same array twice if there is one plane.
        widths: (n_planes, n_tokens) float32.
    """

    plane0: U8
    plane1: U8
    widths: F32


class FloatFormat(NamedTuple):
    """Float rows, and how they are multiplied.

    Attributes:
        source: one of the types of float rows above.
        narrow: 1 if both sides are rounded to bfloat16 first, else 0.
        row_bytes: bytes of a row as it lies in memory.
        n_words: 32-bit words of a row as a tile reads it.
    """

    source: int
    narrow: int
    row_bytes: int
    dim: int
    n_words: int


class FloatDocuments(NamedTuple):
    """Documents of float rows.

    Attributes:
        starts: (n_docs,) int64 addresses of each document's first row.
        doclens: (n_docs,) int64 numbers of rows.
    """

    format: FloatFormat
    starts: I64
    doclens: I64


class Candidates(NamedTuple):
    """Candidates in the order in which they are followed.

    Attributes:
        rows: (n,) int64 numbers of documents.
        estimates: (n,) float32 of their MaxSim, descending.
        readable: (n_docs,) uint8, 0 for documents that must not be read yet.
        scores: (n,) float32, written by the kernels.
    """

    rows: I64
    estimates: F32
    readable: U8
    scores: F32


class StopRule(NamedTuple):
    """The rule that ends the scoring of candidates, see scoring/stop_rule.py, with the scores it has seen.

    Attributes:
        best: (k,) float32, the k best scores so far; a heap whose root is the k-th best.
        sums: (3,) float64: candidates scored, the sum of their errors, the sum of the errors' squares.
        first_check: candidates that are scored in any case.
        deviations: standard deviations of the errors by which a candidate must be out of reach.
    """

    best: F32
    k: int
    sums: F64
    first_check: int
    deviations: float


# Candidates from one check of the stop rule to the next; a check costs next to nothing.
CHECK_EVERY = 8


class Landmarks(NamedTuple):
    """The fixed vectors that features of tokens are computed with.

    Attributes:
        lanes: the landmarks, laid into lanes.
        sharpness: the factor of the cosines in the softmax.
    """

    lanes: PackedQueries
    n_landmarks: int
    n_dims: int
    sharpness: np.float32


class Projection(NamedTuple):
    """The linear map from the summed features of a query to its vector.

    Attributes:
        lanes: the rows of the projection, laid into lanes.
        n_padded: dims of these rows, n_features rounded up to whole 32-bit words.
        scales: (n_features,) float32, the factors of the features before they are projected.
        baseline: (n_features,) float32, the factors of the features in the baseline.
    """

    lanes: PackedQueries
    n_rows: int
    n_features: int
    n_padded: int
    scales: F32
    baseline: F32


class CodeTable(NamedTuple):
    """Product-quantized rows and the centroids of their codes.

    Attributes:
        addresses: (n_rows,) int64 addresses of the rows.
        n_words: 32-bit words of a row.
        centroids: float32, the groups end to end; a group is (n_codes, dims_per_code, CENTROIDS_PER_CODE).
        groups: (n_groups, 2) int64, n_codes and dims_per_code of each group.
    """

    addresses: I64
    n_rows: int
    n_words: int
    centroids: F32
    groups: I64
    n_groups: int


# A code has 4 bits.
CENTROIDS_PER_CODE = 16
