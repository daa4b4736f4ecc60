"""The arrows of the design, enforced: a module imports only from layers below its own, and pure modules touch nothing."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import batchrunner

PACKAGE = Path(batchrunner.__file__).parent

LAYERS = (
    {"diagnostic"},
    {"errors"},
    {"redaction", "durable", "locking", "process"},
    {"states", "forecast"},
    {"model"},
    {"eta"},
    {"settings", "request", "purchase", "envelope", "events", "budget", "moments", "units", "store.comparison"},
    {
        "store.batches",
        "store.planning",
        "store.questions",
        "store.books",
        "store.evidence",
        "store.transitions",
    },
    {"providers.base", "store.base", "pacing", "polling", "breaker", "matrix"},
    {"classify", "reconcile", "schedule", "plan", "audit", "canary", "media.*", "outputs"},
    {"selection", "nights", "costs", "calibrate", "takes"},
    {"answers", "manifest.*"},  # answers share their patterns with classify; manifests look at frames
    {"spendkey", "providers.fresh"},
    {"providers.addresses", "providers.lanes", "providers.proxies"},
    {"providers.quick", "providers.access"},
    {"store.*", "providers.http", "emulator.*"},
    {"providers.toapis"},
    {"runner.*"},
    {"report.*"},
    {"conduct", "preview"},
    {"hours", "run_request", "standing"},
    {"rehearsing"},
    {"demands"},
    {"session", "collection", "doubts", "doctor", "replay"},
    {"saved"},
    {"app"},
    {"operations"},
    {"cli.*"},
    {"__main__"},
)
"""From the ground up. `x.*` is every module of the package `x` that has no layer of its own; they may import each other."""

ONLY = {"emulator": {"errors", "locking"}}
"""Of these packages, all that they may import of ours: the emulator knows the API, not its client."""
NEVER = {
    "runner": (
        "store.sqlite",
        "store.connection",
        "store.memory",
        "store.tables",
        "store.connect",
        "providers.http",
        "providers.access",
        "providers.addresses",
        "providers.toapis",
        "emulator",
    )
}
"""The runner sees ports, never adapters, although they lie below it."""

IO = {"anyio", "asyncio", "httpx", "sqlite3", "sqlite_utils", "time", "subprocess", "socket"}
IMPURE_AT_THE_TOP = {
    "app",
    "conduct",
    "collection",
    "doubts",
    "doctor",
    "replay",
    "session",
    "outputs",
    "durable",
    "operations",
    "process",
    "__main__",
}
PURE_ELSEWHERE = {"manifest.expand"}
OWNERS = {"httpx": "providers", "httpcore": "providers", "sqlite3": "store", "sqlite_utils": "store"}
"""Who alone may import what."""
NOTHING_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if name]  # "" is the package itself, which has a test of its own


def _layer(name: str) -> tuple[int, str] | None:
    """The rank of a module and the entry that gave it: its own name, or its package's `x.*`."""
    for entry in (name, f"{name.partition('.')[0]}.*"):
        for rank, entries in enumerate(LAYERS):
            if entry in entries:
                return rank, entry
    return None


def _imports(path: Path) -> tuple[set[str], set[str]]:
    """What a file imports, wherever in it: modules of ours, without the package's name, and packages of others."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the whole name, `from batchrunner… import …`"
            found = [node.module or ""]
            if found[0].partition(".")[0] == "batchrunner":
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                found = [name if name.partition(".")[2] in FILES else found[0] for name in inner]
        else:
            continue
        for name in found:
            first, _, rest = name.partition(".")
            if first == "batchrunner":
                ours.add(rest)
            else:
                others.add(first)
    return ours, others


def _is_pure(name: str) -> bool:
    return ("." not in name and not (PACKAGE / name).is_dir() and name not in IMPURE_AT_THE_TOP) or (
        name in PURE_ELSEWHERE
    )


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_layer(name):
    if (FILES[name].name == "__init__.py") and not _imports(FILES[name])[0]:
        return  # a package's own file that imports nothing of ours is in nobody's way
    assert _layer(name) is not None, (
        f"batchrunner.{name} has no layer: add {name!r} to LAYERS in {Path(__file__).name}, "
        "above everything that it imports and below everything that imports it"
    )


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_below(name):
    layer = _layer(name)
    if layer is None:
        return  # another test says so
    for target in _imports(FILES[name])[0]:
        if target == "":
            continue  # the package itself: its version
        below = _layer(target)
        assert below is not None, f"batchrunner.{name} imports batchrunner.{target}, which has no layer"
        inside = below == layer and layer[1].endswith(".*")
        assert below[0] < layer[0] or inside, (
            f"batchrunner.{name} (layer {layer[0]}) imports batchrunner.{target} (layer {below[0]}): arrows point down"
        )


@pytest.mark.parametrize("name", MODULES)
def test_what_may_not_be_known_is_not_imported(name):
    package = name.partition(".")[0]
    for target in _imports(FILES[name])[0]:
        if package in ONLY and not _within(target, package):
            assert target in ONLY[package], f"batchrunner.{name} may not know batchrunner.{target}"
        for hidden in NEVER.get(package, ()):
            assert not _within(target, hidden), f"batchrunner.{name} sees the port, not {hidden}"


@pytest.mark.parametrize("name", [name for name in MODULES if _is_pure(name)])
def test_pure_modules_do_nothing(name):
    touched = _imports(FILES[name])[1] & IO
    assert not touched, f"batchrunner.{name} is pure and imports {', '.join(sorted(touched))}: make it an argument"


def test_the_pure_modules_are_there():
    assert {
        "plan",
        "budget",
        "schedule",
        "polling",
        "forecast",
        "eta",
        "pacing",
        "classify",
        "answers",
        "envelope",
        "request",
        "purchase",
    } <= {name for name in MODULES if _is_pure(name)}
    assert set(MODULES) >= PURE_ELSEWHERE


@pytest.mark.parametrize("package", OWNERS)
def test_one_owner_for_each_big_dependency(package):
    users = {name for name in MODULES if package in _imports(FILES[name])[1]}
    assert users
    assert all(_within(name, OWNERS[package]) for name in users), f"{package} is imported by {users}"


@pytest.mark.parametrize("name", MODULES)
def test_names_say_what_is_inside(name):
    assert not set(name.split(".")) & NOTHING_NAMES, f"batchrunner.{name}: name it after what it does"


def test_the_rules_are_not_empty():
    """Entries whose modules are gone would let a new module of that name slip in."""
    for entries in LAYERS:
        for entry in entries:
            package = entry.removesuffix(".*")
            assert any(name == entry or (entry != package and _within(name, package)) for name in MODULES), entry


# what starting costs

HEAVY = ("httpx", "sqlite_utils", "pydantic", "av", "rich", "starlette", "uvicorn", "PIL", "yaml")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import batchrunner.cli.main", id="import"),
        pytest.param("from batchrunner.cli.main import run; run(['--help'])", id="--help"),
        pytest.param("from batchrunner.cli.main import run; run(['--version'])", id="--version"),
    ],
)
def test_help_costs_nothing(code):
    script = f"import sys\n{code}\nprint('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded:"


LATER = ("aiohttp", "av", "httpx._main", "jinja2", "PIL", "rich.live", "sqlite_utils", "starlette", "uvicorn")
"""What some runs need: frames, many questions, a report, a terminal, a new database, a rehearsal."""


def test_a_run_loads_what_it_needs_when_it_needs_it():
    script = f"import sys, batchrunner.cli.run\nprint(*[name for name in {LATER!r} if sys.modules.get(name)])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_garbage_is_looked_for_again_once_a_command_is_loaded():
    script = "import gc; from batchrunner.cli.main import cli; cli.get_command(None, 'schema'); print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True"]


def test_help_through_the_front_door():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "batchrunner", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & set(HEAVY)
    assert "exit codes" in done.stdout


# what the package says of itself


def test_the_package_itself_imports_nothing_heavy():
    ours, others = _imports(FILES[""])
    assert not ours
    assert not others - {"__future__", "typing", "importlib"}


def test_the_version_is_the_installed_one():
    assert batchrunner.__version__ == importlib.metadata.version("batchrunner")


@pytest.mark.parametrize("name", FILES)
def test_all_names_what_is_there(name):
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(tree)):
        return
    module = importlib.import_module(f"batchrunner.{name}".rstrip("."))
    exported = list(module.__all__)
    assert exported == sorted(set(exported), key=exported.index), "a name is there twice"
    assert not [name for name in exported if not hasattr(module, name)]
