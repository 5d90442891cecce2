"""Modules of the kernels import each other without cycles, also where only mypy or editors follow the import."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "kernels" / "colsearch_kernels"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imported_modules(path: Path) -> set[str]:
    """The package's modules that any import statement of a file names, within functions and TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return found & set(MODULES)


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: imported_modules(path) for name, path in MODULES.items()}
    assert "colsearch_kernels.compiled.compiler" in graph["colsearch_kernels.runtime.kernel"]
    assert "colsearch_kernels.compiled.ordering" in graph["colsearch_kernels.scoring.ordering"]
    # Raises CycleError with the modules.
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(MODULES)


def test_only_compiled_modules_import_numba() -> None:
    for name, path in MODULES.items():
        if not name.startswith("colsearch_kernels.compiled."):
            tree = ast.parse(path.read_text())
            names = {
                alias.name.split(".")[0]
                for n in ast.walk(tree)
                if isinstance(n, ast.Import)
                for alias in n.names
            }
            names |= {
                n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module
            }
            assert "numba" not in names, name


_SEARCH = """
import sys
import numpy as np
import colsearch_kernels as kernels
from colsearch_kernels.layout import quantize
rng = np.random.default_rng(0)
vectors, query = rng.standard_normal((50, 32), np.float32), rng.standard_normal((5, 32), np.float32)
planes, widths = quantize.encode(vectors, (4, 4), 1)
codes = kernels.Codes(32, (4, 4), planes, widths, np.arange(0, 51, 5))
quantized = kernels.quantize_query(query, (4, 4), 1)
features = kernels.TokenFeatures(quantized, 5.0)
projection = kernels.QuantizedQuery(np.ones((8, -(-len(features) // 4) * 4), np.int8), np.ones(8, np.float32))
ones = np.ones(len(features), np.float32)
kernels.QueryVectors(features, projection, ones, ones).embed(quantized)
table = kernels.Lookups([np.zeros((10, 4), np.uint8)], [np.zeros((8, 16, 1), np.float32)])
rows, estimates = table.add_products_and_sort(np.arange(10), np.ones(10, np.float32), np.ones(8, np.float32))
scorer = kernels.ScatteredScorer(quantized, kernels.Scattered([codes]))
followed = scorer.follow(rows, estimates, k=3, stop_deviations=9.0)
assert (followed.scores == kernels.score_codes(quantized, codes)[rows]).all()
kernels.best_first(followed.scores)
print("numba" in sys.modules)
"""


def test_a_search_with_cached_machine_code_imports_no_numba() -> None:
    outputs = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", _SEARCH], capture_output=True, text=True, check=True)
        outputs.append(done.stdout.strip())
    assert outputs[-1] == "False"


def test_a_module_sees_a_kernel_and_its_types() -> None:
    # Each kernel is named twice, for mypy and for the loader: both must be the same function.
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text())
        typed = {
            (str(node.module).removeprefix("colsearch_kernels.compiled."), alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("colsearch_kernels.compiled.")
            for alias in node.names
        }
        loaded = {
            (*node.value.args[0].value.split("."), node.targets[0].id)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "kernel"
        }
        if name.startswith("colsearch_kernels.compiled") or not loaded:
            continue
        assert {(module, function) for module, function, _ in loaded} == typed, name
        assert all(function == target for _, function, target in loaded), name
