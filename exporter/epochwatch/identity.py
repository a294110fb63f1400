"""Who this run is: host, address, process, commit, framework."""

from __future__ import annotations

import secrets
import socket
import sys
from importlib import metadata
from pathlib import Path

# Never reached: a UDP socket that is only connected sends nothing, but learns the address it would use.
ROUTE_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104


def run_labels(pid: int, host: str, start_dir: Path) -> tuple[str, ...]:
    """Gives the values of run_info's labels, in the catalogue's order."""
    framework, version = framework_version()
    return (secrets.token_hex(6), framework, version, host, str(pid), git_commit(start_dir))


def framework_version() -> tuple[str, str]:
    """Gives the training framework and its version, without importing it; empty if there is none."""
    loaded = getattr(sys.modules.get("torch"), "__version__", None)
    if loaded is not None:
        return "pytorch", str(loaded)
    try:
        return "pytorch", metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "", ""


def git_commit(directory: Path) -> str:
    """Gives the commit checked out at or above `directory`, without starting git; empty if unknown."""
    for parent in (directory, *directory.parents):
        git = parent / ".git"
        try:
            if git.is_file():  # a worktree or a submodule points elsewhere
                git = parent / git.read_text().removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head(git)
        except (OSError, UnicodeDecodeError):
            return ""
    return ""


def _head(git: Path) -> str:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.removeprefix("ref:").strip()
    shared = git / "commondir"
    roots = [git, git / shared.read_text().strip()] if shared.is_file() else [git]
    for root in roots:
        if (root / name).is_file():
            return (root / name).read_text().strip()
        if (root / "packed-refs").is_file():
            for line in (root / "packed-refs").read_text().splitlines():
                if line.endswith(f" {name}"):
                    return line.partition(" ")[0]
    return ""


def reachable_target(addr: str, port: int, advertise: str | None, offset: int) -> str:
    """Takes where this process serves and what it was told to advertise, and gives host:port for others.

    Behind NAT each process of a node has a published port of its own, counted up by `offset` as the one served on is.
    """
    if advertise is None:
        return f"{reachable_host(addr)}:{port}"
    host, separator, published = advertise.rpartition(":")
    if not separator or published.endswith("]"):
        return f"{advertise}:{port}"
    return f"{host}:{int(published) + offset}"


def reachable_host(addr: str) -> str:
    """Takes the address served on and gives one under which others can reach it, in URL form."""
    if addr not in ANY_ADDRESS:
        return f"[{addr}]" if ":" in addr else addr
    for family, target in ROUTE_PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                own = str(probe.getsockname()[0])
                return f"[{own}]" if ":" in own else own
        except OSError:
            continue
    return "127.0.0.1"
