"""Gives every peer a Python environment of its own: `python -m benchmarks peers install NAME`.

The peers' pins exclude each other (two exact torch versions, two sentence-transformers), so no peer shares
our environment.
An engine that is not listed in configs/environments.json runs in the interpreter that runs the suite.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import HERE

LISTED = HERE / "configs" / "environments.json"


class NotInstalledError(RuntimeError):
    """A peer's environment is missing. The message says how to make it, or why it cannot be made."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The requirements of an engine.

    Attributes:
        packages: requirements from the public index.
        gigabytes: free disk space that it needs, checked before anything is downloaded.
        debian: release whose Python and C library it needs, because many machines have older ones.
        python: version of that release's Python.
    """

    name: str
    packages: tuple[str, ...]
    gigabytes: float
    debian: str | None = None
    python: str | None = None


def environments() -> dict[str, Environment]:
    listed = json.loads(LISTED.read_text(encoding="utf-8"))
    return {
        name: Environment(name, **{**fields, "packages": tuple(fields["packages"])})
        for name, fields in listed.items()
    }


def command_for(engine: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """The command of the engine's Python, and further environment variables.

    Raises: NotInstalledError: if its environment is missing.
    """
    environment = environments().get(engine)
    if environment is None:
        # colsearch may be imported from a checkout without being installed.
        ours = [str(HERE.parent), str(HERE.parent / "kernels"), os.environ.get("PYTHONPATH", "")]
        return [sys.executable], {"PYTHONPATH": os.pathsep.join(filter(None, ours))}
    folder = home / "peers" / engine
    if not (folder / "installed").exists():
        raise NotInstalledError(f"not installed; `python -m benchmarks peers install {engine}`")
    if environment.debian is None:
        return [str(folder / "venv" / "bin" / "python")], {}
    return _foreign_python(folder / environment.debian, folder / "packages", str(environment.python))


def install(name: str, home: Path) -> None:
    """Make the environment of a peer.

    Raises: NotInstalledError: with the reason, if this machine cannot have it.
    """
    environment = environments().get(name)
    if environment is None:
        raise NotInstalledError(f"no peer {name!r}; there are {', '.join(environments())}")
    folder = home / "peers" / name
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 1e9
    if free < 1.5 * environment.gigabytes:
        raise NotInstalledError(
            f"{name} takes {environment.gigabytes} GB and {free:.1f} GB are free in {home}"
        )
    if environment.debian:
        _install_with_debian(environment, folder)
    else:
        _install_with_venv(environment, folder)
    (folder / "installed").write_text("\n".join(environment.packages) + "\n", encoding="utf-8")


def _install_with_venv(environment: Environment, folder: Path) -> None:
    _run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
    _run([str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", *environment.packages])


def _install_with_debian(environment: Environment, folder: Path) -> None:
    """Install with a Debian root. Its Python runs through the root's own loader, without chroot or mounts."""
    if not shutil.which("debootstrap"):
        raise NotInstalledError(
            f"{environment.name} needs Debian {environment.debian}'s C library: install debootstrap"
        )
    root = folder / str(environment.debian)
    if not (root / "usr" / "bin" / f"python{environment.python}").exists():
        # Making the root needs superuser rights; running its Python does not.
        _run(["debootstrap", "--variant=minbase", "--include=python3", str(environment.debian), str(root)])
    platforms = (f"manylinux_2_{minor}_{os.uname().machine}" for minor in (17, 27, 28, 34, 39))
    _run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--only-binary=:all:"),
            *("--python-version", str(environment.python), "--target", str(folder / "packages")),
            *(argument for platform in platforms for argument in ("--platform", platform)),
            *environment.packages,
        ]
    )


def _foreign_python(root: Path, packages: Path, version: str) -> tuple[list[str], dict[str, str]]:
    machine = os.uname().machine
    loader = next(root.glob("usr/lib*/ld-linux-*"), None) or next(root.glob("usr/lib/*/ld-linux-*"))
    command = [str(loader), "--library-path", str(root / f"usr/lib/{machine}-linux-gnu")]
    command.append(str(root / "usr" / "bin" / f"python{version}"))
    return command, {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(packages)}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotInstalledError(f"`{' '.join(command[:4])} ...` failed: {' '.join(last)[:300]}")
