"""Every instruction set gives the same integers, and a wrong choice of one is an error or a lower one, never a crash."""

import os
import re
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from colsearch_kernels.compiled.arithmetic import Float32, Integer
from colsearch_kernels.compiled.emit import I64, tile_body
from colsearch_kernels.runtime.tiers import TIERS, target_features, tier

_DIGEST = """
import hashlib, numpy as np, colsearch_kernels as kernels
from colsearch_kernels.runtime import tiers
from tests.support.codes import draw_codes, draw_query
from colsearch_kernels.layout.codes import PLANE_BITS
digest, rng = hashlib.sha256(), np.random.default_rng(3)
for plane_bits in PLANE_BITS:
    for dim in (20, 64, 128, 200):
        codes = draw_codes(rng, dim, plane_bits, [1, 0, 7, 33, 12, 2])
        for n in (1, 16, 40):
            query = draw_query(rng, n, codes.padded_dim)
            digest.update(kernels.score_codes(query, codes).tobytes())
            digest.update(kernels.token_maxima(query, codes, n_planes=1).tobytes())
            features = kernels.TokenFeatures(query, 5.0)
            digest.update(features.compute(query).tobytes())
            projection = np.ones((9, -(-len(features) // 4) * 4), np.int8)
            weights = np.linspace(0, 1, len(features)).astype(np.float32)
            projection = kernels.QuantizedQuery(projection, np.ones(9, np.float32))
            vector, baseline = kernels.QueryVectors(features, projection, weights, weights).embed(query)
            digest.update(vector.tobytes() + np.float64(baseline).tobytes())
stored = rng.integers(0, 256, (50, 12), dtype=np.uint8)
lookups = kernels.Lookups([stored], [rng.standard_normal((n, 16, 32 // n)).astype(np.float32) for n in (8, 16)])
known, asked = (rng.standard_normal(n).astype(np.float32) for n in (50, 64))
for found in lookups.add_products_and_sort(np.arange(50), known, asked):
    digest.update(found.tobytes())
vectors = rng.integers(-128, 128, (40, 52)).astype(np.int8)
scales, query = rng.random(40, np.float32), rng.standard_normal((5, 52), np.float32)
digest.update(kernels.maxsim_int8(query, vectors, scales, np.array([0, 13, 27])).tobytes())
exact = kernels.maxsim(query, vectors.astype(np.float32), np.array([0, 13, 27]))
assert np.allclose(exact[1:], [(vectors[:13] @ query.T.astype(float)).max(0).sum(), (vectors[13:] @ query.T.astype(float)).max(0).sum()], rtol=1e-4)
print(tiers.tier().name, digest.hexdigest())
"""


def digest(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_all_tiers_that_this_machine_can_run_give_the_same_bits() -> None:
    runnable = [one.name for one in TIERS if one.features <= target_features()]
    assert {"generic", tier().name} <= set(runnable)
    found = [digest(COLSEARCH_KERNEL_TIER=name) for name in runnable]
    assert [name for name, _ in found] == runnable
    assert len({value for _, value in found}) == 1


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({"NUMBA_CPU_NAME": "haswell"}, {"avx2", "generic", "neon"}),
        ({"NUMBA_CPU_NAME": "generic"}, {"generic"}),
        ({"NUMBA_CPU_FEATURES": "", "NUMBA_CPU_NAME": "nehalem"}, {"generic"}),
        ({"NUMBA_CPU_NAME": "haswell", "COLSEARCH_KERNEL_TIER": "avx512"}, {"avx2", "generic", "neon"}),
    ],
)
def test_a_smaller_target_never_gets_larger_instructions(
    environment: dict[str, str], allowed: set[str]
) -> None:
    name, value = digest(**environment)
    assert name in allowed
    assert value == digest()[1]


def test_an_unknown_tier_is_a_typed_error() -> None:
    code = "from colsearch_kernels import maxsim"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "COLSEARCH_KERNEL_TIER": "avx9000"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "KernelInputError: COLSEARCH_KERNEL_TIER must be one of generic, neon, avx2, avx512" in done.stderr


def assembly(
    arithmetic: object, n_tokens: int, n_vectors: int, words_per_turn: int, triple: str, features: str
) -> str:
    """Of one tile, compiled for a processor that need not be here."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(I64, [I64] * 7), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(tile_body(arithmetic, n_tokens, n_vectors, words_per_turn)(builder, *function.args))
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return str(machine.emit_assembly(parsed))


def inner_loop(text: str, instruction: str) -> list[str]:
    """The instructions of the loop that has most of one kind."""
    blocks = re.split(r"^\.LBB\d+_\d+:.*$", text, flags=re.M)
    lines = max(blocks, key=lambda block: len(re.findall(rf"\b{instruction}\b", block))).splitlines()
    found = [line.strip() for line in lines if re.match(r"\s+[a-z]", line)]
    # What follows the jump back is no longer the loop.
    jump = next(i for i, line in enumerate(found) if re.match(r"(j|b\.|cbn?z|tbn?z)", line))
    return found[: jump + 1]


def count(lines: list[str], instruction: str) -> int:
    return sum(bool(re.match(rf"{instruction}\b", line)) for line in lines)


def test_neon_tiles_compile_to_the_instructions_they_are_made_for() -> None:
    neon = next(one for one in TIERS if one.name == "neon")
    triple, features = "aarch64-unknown-linux-gnu", "+neon,+dotprod,+fullfp16"
    for arithmetic, n_tokens, instruction in (
        (Integer("neon"), neon.tile, "sdot"),
        (Float32(), neon.float_tile, "fmla"),
    ):
        loop = inner_loop(
            assembly(arithmetic, n_tokens, neon.vectors, neon.words_per_turn, triple, features), instruction
        )
        # Four registers of four lanes make 16; each takes one instruction a word.
        assert count(loop, instruction) == 4 * n_tokens * neon.vectors * neon.words_per_turn
        assert not re.search(r"\bst[rp]\b.*\[sp", "\n".join(loop)), "sums are spilled within the loop"


@pytest.mark.parametrize("n_vectors", [1, 2])
@pytest.mark.parametrize("instruction", ["vpdpbusd", "vfmadd231ps"])
def test_avx512_loops_hold_little_more_than_the_multiply_adds(instruction: str, n_vectors: int) -> None:
    best = TIERS[-1]
    features = "+avx512f,+avx512bw,+avx512vl,+avx512vnni,+f16c,+fma"
    arithmetic = Integer("avx512") if instruction == "vpdpbusd" else Float32()
    n_tokens = best.tile if instruction == "vpdpbusd" else best.float_tile
    loop = inner_loop(
        assembly(arithmetic, n_tokens, n_vectors, best.words_per_turn, "x86_64-unknown-linux-gnu", features),
        instruction,
    )
    assert count(loop, instruction) == n_tokens * n_vectors * best.words_per_turn
    assert not any("rsp" in line for line in loop), "sums are spilled within the loop"
    n_loads = (n_tokens + n_vectors) * best.words_per_turn
    # A processor that takes four instructions a cycle has room for few others beside two multiply-adds:
    # a pointer is moved along each row, and one along the query, and the loop is closed, in up to 4.
    n_others = n_tokens + 1 + 4
    assert len(loop) <= n_tokens * n_vectors * best.words_per_turn + n_loads + n_others
