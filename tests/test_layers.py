"""Rules for imports, calls that are never made, the length of files, and the cost of `import colsearch`."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [ROOT / "colsearch", ROOT / "kernels" / "colsearch_kernels"]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
MAX_LINES = 450
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# A unit is a module or folder of colsearch. It imports only units of the lines above its own.
LEVELS = [
    {"errors"},
    {"types"},
    {"config"},
    {"codec", "formats"},
    {"store"},
    {"scoring"},
    {"prefilter", "ingest"},
    {"encoders"},
    {"query"},
    {"index"},
    {"evaluation", "integrations"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL_OF = {unit: number for number, units in enumerate(LEVELS) for unit in units}

# These still import helpers from a test module; the helpers have to move to tests/support.
MAY_IMPORT_TESTS = {
    "tests/kernels/gpu/test_triton_codes.py",
    "tests/kernels/runtime/test_threads.py",
    "tests/kernels/runtime/test_tiers.py",
    "tests/kernels/scoring/test_guard_pages.py",
    "tests/kernels/scoring/test_stop_rule.py",
}

FORBIDDEN_MODULES = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
FORBIDDEN_BUILTINS = {"__import__", "compile", "eval", "exec"}
FORBIDDEN_ATTRIBUTES = {
    ("torch", "load"),
    ("os", "system"),
    ("os", "popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
}
FORBIDDEN_KEYWORDS = {"allow_pickle", "shell", "trust_remote_code"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Imports and calls that could run code that a file names."""
    yield from (f"import {name}" for name in imports(tree) if name.split(".")[0] in FORBIDDEN_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in FORBIDDEN_BUILTINS:
            yield f"{function.id}() in line {node.lineno}"
        if isinstance(function, ast.Attribute):
            name = (ast.unparse(function.value), function.attr)
            if name in FORBIDDEN_ATTRIBUTES:
                yield f"{'.'.join(name)}() in line {node.lineno}"
            if function.attr == "import_module" and not isinstance(node.args[0], ast.Constant):
                yield f"a module named by a variable is imported in line {node.lineno}"
        for keyword in node.keywords:
            # A parameter may be passed on under the same name: then the caller chose its value.
            if keyword.arg in FORBIDDEN_KEYWORDS and ast.unparse(keyword.value) not in ("False", keyword.arg):
                yield f"{keyword.arg} in line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_a_file(path):
    assert list(unsafe(ast.parse(path.read_text()))) == []


def test_every_unsafe_call_would_be_seen():
    bad = {
        "import pickle": 1,
        "from joblib import load": 1,
        "eval('1')": 1,
        "exec(code)": 1,
        "torch.load(path)": 1,
        "np.load(path, allow_pickle=True)": 1,
        "importlib.import_module(name)": 1,
        "AutoModel.from_pretrained(x, trust_remote_code=True)": 1,
        "model.eval(); re.compile('x'); np.load(path); np.load(path, allow_pickle=False)": 0,
        "importlib.import_module('numba')": 0,
    }
    assert {code: len(list(unsafe(ast.parse(code)))) for code in bad} == bad


def test_the_top_of_the_package_has_few_modules_and_every_room_answers_a_question():
    assert len(list((ROOT / "colsearch").glob("*.py"))) <= 7
    for package in PACKAGES:
        for room in package.iterdir():
            if (room / "__init__.py").exists():
                question, _, answer = (
                    ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
                ).partition("?")
                assert question and answer.strip(), f"{room} does not say which question it answers"


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT / "colsearch").parts[0].removesuffix(".py")


@pytest.mark.parametrize("unit", sorted({unit_of(path) for path in SOURCES if "kernels" not in path.parts}))
def test_imports_go_one_way(unit):
    assert unit in LEVEL_OF, f"give {unit} a line in LEVELS: what may import it, and what may it import?"
    for path in SOURCES:
        if "kernels" in path.parts or unit_of(path) != unit:
            continue
        for name in imports(ast.parse(path.read_text())):
            package, _, rest = name.partition(".")
            imported = rest.split(".")[0]
            if package != "colsearch" or imported == unit or imported not in LEVEL_OF:
                continue
            assert LEVEL_OF[imported] < LEVEL_OF[unit], (
                f"{path.relative_to(ROOT)} imports colsearch.{imported}"
            )


def modules_of(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }


def import_graph(package: Path) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports anywhere: at its top, in functions, for type checks."""
    modules = modules_of(package)
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        # "from a.b import c" names the module a.b.c, or a name of the module a.b.
        graph[module] = {
            name if name in modules else name.rpartition(".")[0]
            for name in imports(ast.parse(path.read_text()))
        } & modules.keys() - {module}
    return graph


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, or an empty list."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for imported in sorted(graph[module]):
            if cycle := visit(imported, [*path, module]):
                return cycle
        finished.add(module)
        return []

    return next((cycle for module in sorted(graph) if (cycle := visit(module, []))), [])


def test_no_import_goes_in_a_circle():
    graph = import_graph(ROOT / "colsearch")
    assert sum(map(len, graph.values())) > 200, "the imports are no longer found"
    assert cycle_in(graph) == []


def test_a_circle_of_imports_would_be_seen(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    for name, code in {
        "__init__": "",
        "top": "from package import middle",
        "middle": "if TYPE_CHECKING:\n    from package.bottom import Thing",
        "bottom": "def load():\n    import package.top",
    }.items():
        (package / f"{name}.py").write_text(code)
    cycle = cycle_in(import_graph(package))
    assert cycle == ["package.bottom", "package.top", "package.middle", "package.bottom"]
    (package / "bottom.py").write_text("Thing = 1")
    assert cycle_in(import_graph(package)) == []


def test_the_kernels_import_nothing_of_ours():
    for path in SOURCES:
        if "kernels" in path.relative_to(ROOT).parts:
            roots = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
            assert "colsearch" not in roots, path


def test_no_test_imports_from_a_test_module():
    """Helpers that tests share live in tests/support, or beside the tests in a module without tests."""
    found = {
        str(path.relative_to(ROOT))
        for path in TESTS
        for name in imports(ast.parse(path.read_text()))
        if name.startswith("tests.") and ".test_" in name
    }
    assert found <= MAY_IMPORT_TESTS, "move what is shared to tests/support"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path):
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= MAX_LINES


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("colsearch", ["torch", "transformers", "sentence_transformers", "numba", "faiss"]),
        ("colsearch.cli.app", ["torch", "transformers", "sentence_transformers", "faiss"]),
        ("colsearch_kernels", ["torch", "colsearch", "triton"]),
    ],
)
def test_an_import_loads_nothing_heavy(module, unwanted):
    code = f"import sys, {module}; print(sorted(set({unwanted!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
