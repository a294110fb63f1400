#!/usr/bin/env python3
"""Takes a checkout, gives `.stack/bin/{prometheus,promtool,alertmanager,amtool}`, ready to run.

    prometheus/install.py                  PATH's, else the distribution's packages, else the official release
    prometheus/install.py --suite trixie   another Debian suite's versions, into .stack/trixie/bin

Needs nothing but the standard library, no root, and writes nothing outside `.stack`. A second run finds
everything in place. Two variables help behind a firewall: EPOCHWATCH_STACK names another folder than
`.stack`, EPOCHWATCH_RELEASES another place than https://github.com/prometheus for the release tarballs, whose
checksums are pinned here, so that any mirror will do.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import http.client
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASES = "https://github.com/prometheus"
START_SECONDS = 20.0
DOWNLOAD_SECONDS = 30.0


@dataclass(frozen=True)
class Package:
    """One project: a server and its tool, the version the shipped rules need, and where it can be had."""

    name: str
    tool: str
    minimum: tuple[int, int]
    debian: str
    release: str
    sha256: Mapping[str, str]

    @property
    def binaries(self) -> tuple[str, str]:
        return (self.name, self.tool)


# keep_firing_for came with Prometheus 2.42. The checksums are those of the release's own sha256sums.txt, as
# OpenStack Kolla's image builder and others pin them too.
PACKAGES = (
    Package(
        name="prometheus",
        tool="promtool",
        minimum=(2, 42),
        debian="prometheus",
        release="3.5.0",
        sha256={
            "amd64": "e811827af26d822afb09a4f28314f61b618b12cff5369835a67f674d8b46f39a",
            "arm64": "173389cc42bf09c4e6e54cb53fa07a5a835d7c261e14775d2183181d6e385d1c",
        },
    ),
    Package(
        name="alertmanager",
        tool="amtool",
        minimum=(0, 25),
        debian="prometheus-alertmanager",
        release="0.28.1",
        sha256={
            "amd64": "5ac7ab5e4b8ee5ce4d8fb0988f9cb275efcc3f181b4b408179fafee121693311",
            "arm64": "d8832540e5b9f613d2fd759e31d603173b9c61cc7bb5e3bc7ae2f12038b1ce4f",
        },
    ),
)

# Debian compiles this folder into Alertmanager, which loads no configuration without default.tmpl in it. The
# unpacked copy asks for a folder whose name is as long: the one that its wrapper opens as descriptor 9.
DEBIAN_TEMPLATES = b"/usr/share/prometheus/alertmanager"
OPENED_TEMPLATES = b"/proc/self/fd/9/" + b"./" * 9
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
WRAPPER = '#!/bin/sh\nexec 9<"{templates}"\nexec "{binary}" "$@"\n'


class UnavailableError(Exception):
    """One way to get a package is closed; the text says why, in words for the person at the terminal."""


def main(argv: list[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Takes arguments and environment, gives the exit status: 0 when all four programs can be run."""
    parser = argparse.ArgumentParser(description="Makes Prometheus and Alertmanager available in the tree.")
    parser.add_argument("--suite", help="take this Debian suite's packages, into .stack/SUITE (for tests)")
    suite = parser.parse_args(argv).suite
    stack = Path(environment.get("EPOCHWATCH_STACK") or ROOT / ".stack").resolve()
    target = stack / suite if suite else stack
    lines, missing = [], []
    with locked(stack), tempfile.TemporaryDirectory(dir=made(target)) as scratch:
        apt = Apt(Path(scratch), suite)
        for package in PACKAGES:
            try:
                lines.append(provide(package, target, suite, environment, apt))
            except UnavailableError as error:
                missing.append(str(error))
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 1
    print("prometheus: " + ", ".join(lines))
    return 0


@contextmanager
def locked(stack: Path) -> Iterator[None]:
    """Takes the stack's folder, lets one installation at a time work in it."""
    try:
        stack.mkdir(parents=True, exist_ok=True)
        lock = (stack / ".lock").open("w")
    except OSError as error:
        raise SystemExit(
            f"cannot write to {stack}: {error.strerror}; set EPOCHWATCH_STACK to a folder of yours"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def provide(
    package: Package, target: Path, suite: str | None, environment: Mapping[str, str], apt: Apt
) -> str:
    """Takes a package, gives one line that says what is used.

    Raises:
        UnavailableError: every way is closed; the text lists each with its reason and says what to do.
    """
    bin_folder = target / "bin"
    try:
        return f"{package.name} {check(package, bin_folder)} in {bin_folder}"
    except UnavailableError:
        pass
    ways: list[tuple[str, Callable[[], None]]] = [
        ("PATH", lambda: from_path(package, bin_folder, environment)),
        ("apt", lambda: from_apt(package, target, apt)),
        (
            "release",
            lambda: from_release(package, target, environment.get("EPOCHWATCH_RELEASES") or RELEASES),
        ),
    ]
    if suite:
        ways = [(f"apt, {suite}", lambda: from_apt(package, target, apt))]
    reasons = []
    for name, way in ways:
        try:
            way()
            found = check(package, bin_folder)
            if package.name == "alertmanager":
                check_starts(bin_folder / package.name)
        except UnavailableError as error:
            reasons.append(f"  {name}: {error}")
            continue
        return f"{package.name} {found} in {bin_folder} (from {name})"
    for binary in package.binaries:
        (bin_folder / binary).unlink(missing_ok=True)
    wanted = ".".join(map(str, package.minimum))
    raise UnavailableError(
        f"{package.name} and {package.tool} {wanted} or newer are needed and could not be had:\n"
        + "\n".join(reasons)
        + ("" if suite else advice(package))
    )


def advice(package: Package) -> str:
    """Takes a package that no way could get, gives what the person at the terminal can do."""
    return (
        f"\nWithout a network: fetch {package.name}-{package.release}.linux-{architecture()}.tar.gz from\n"
        f"{RELEASES}/{package.name}/releases on another machine, unpack it, put its folder on PATH,\n"
        "and run this again."
    )


def check(package: Package, folder: Path) -> str:
    """Takes a folder with a package's two programs, gives their version.

    Raises:
        UnavailableError: one is missing, does not run, or is too old.
    """
    found = [version_of(folder / binary) for binary in package.binaries]
    for binary, text in zip(package.binaries, found, strict=True):
        require(package, binary, text)
    return found[0]


def version_of(binary: Path) -> str:
    """Takes a program, gives the version it says it has.

    Raises:
        UnavailableError: it is not there, does not run, or says no version.
    """
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=START_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{binary} does not run: {error}") from None
    # Older releases print their version to standard error.
    match = re.search(r"version v?(\d+\.\d+\.\d+)", answer.stdout + answer.stderr)
    if not match:
        raise UnavailableError(f"{binary} --version says no version (exit status {answer.returncode})")
    return match[1]


def require(package: Package, what: str, version: str) -> None:
    """Raises:
    UnavailableError: the version is older than the package's minimum.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < package.minimum:
        raise UnavailableError(
            f"{what} there is {version}; {'.'.join(map(str, package.minimum))} is the oldest that works"
        )


def check_starts(alertmanager: Path) -> None:
    """Takes Alertmanager, starts it once: `--version` works in a copy that cannot load its templates.

    Raises:
        UnavailableError: it ended by itself; the text is its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "alertmanager.yml")
        config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
        process = subprocess.Popen(
            [
                alertmanager,
                f"--config.file={config}",
                f"--storage.path={folder}",
                "--cluster.listen-address=",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stderr is not None
            line = ""
            for line in process.stderr:
                if "Listening on" in line:
                    process.kill()
                    return
    raise UnavailableError(f"{alertmanager} does not start: {line.strip()}")


def from_path(package: Package, bin_folder: Path, environment: Mapping[str, str]) -> None:
    """Takes a package that is on PATH (Debian calls the server prometheus-alertmanager), links it.

    Raises:
        UnavailableError: it is not there, or too old.
    """
    folders = [folder for folder in environment.get("PATH", "").split(os.pathsep) if folder]
    path = os.pathsep.join(folder for folder in folders if Path(folder).resolve() != bin_folder)
    found = {}
    for binary, other_name in ((package.name, package.debian), (package.tool, package.tool)):
        program = shutil.which(binary, path=path) or shutil.which(other_name, path=path)
        if not program:
            raise UnavailableError(f"no {binary} on PATH")
        found[binary] = Path(program).absolute()
        require(package, program, version_of(found[binary]))
    for binary, place in found.items():
        link(place, bin_folder / binary)


class Apt:
    """This machine's apt, or another suite of its mirror, with all its state in a scratch folder of ours."""

    def __init__(self, scratch: Path, suite: str | None) -> None:
        self.scratch = scratch
        self.suite = suite
        # The machine's own lists are tried first; a fresh one has none, and only root could fetch them there.
        self.options: list[str] = []
        self.refreshed = False

    def fetch(self, package: Package, name: str) -> Path:
        """Takes the name of a package's archive, gives the archive.

        Raises:
            UnavailableError: there is no apt, or no such package, or only an old one, or no way to fetch it.
        """
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise UnavailableError("no apt-get on this machine")
        if not self.suite and not self.refreshed:
            with suppress(UnavailableError):
                return self.download(package, name)
        self.refresh()
        return self.download(package, name)

    def refresh(self) -> None:
        """Fetches the package lists into the folder, once."""
        if self.refreshed:
            return
        for folder in ("lists/partial", "cache/archives/partial", "parts"):
            (self.scratch / folder).mkdir(parents=True, exist_ok=True)
        (self.scratch / "status").touch()
        settings = {
            "Dir::State": self.scratch,
            "Dir::State::lists": self.scratch / "lists",
            "Dir::State::status": self.scratch / "status",
            "Dir::Cache": self.scratch / "cache",
            "Acquire::Languages": "none",
        }
        self.options = options(settings)
        if self.suite:
            (self.scratch / "parts/suite.list").write_text(self.suite_source(self.suite))
            settings |= {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": self.scratch / "parts"}
            self.options = options(settings)
        self.call("apt-get", "update")
        self.refreshed = True

    def suite_source(self, suite: str) -> str:
        """Takes a suite's name, gives an apt source for it on the Debian mirror that this machine uses."""
        addresses = self.call("apt-get", "update", "--print-uris")
        match = re.search(r"^'(\S+/debian)/dists/", addresses, re.MULTILINE)
        if not match:
            raise UnavailableError(f"this machine's apt has no Debian mirror to take {suite} from")
        keys = f"[signed-by={DEBIAN_KEYS}] " if DEBIAN_KEYS.exists() else ""
        return f"deb {keys}{match[1]} {suite} main\n"

    def download(self, package: Package, name: str) -> Path:
        """Takes an archive's name, gives it by the lists there are; one that is too old is not fetched."""
        shown = self.call("apt-cache", "show", "--no-all-versions", name)
        match = re.search(r"^Version: (?:\d+:)?(\d+\.\d+\.\d+)", shown, re.MULTILINE)
        if not match:
            raise UnavailableError(f"apt's {name} has no version")
        require(package, f"the {name} package", match[1])
        self.call("apt-get", "download", name)
        return next(self.scratch.glob(f"{name}_*.deb"))

    def call(self, program: str, verb: str, *arguments: str) -> str:
        """Takes one call of apt, gives what it printed."""
        # Root's downloads would go through the user _apt, who cannot enter a private checkout.
        command = [program, "-q", *self.options, "-o", "APT::Sandbox::User=root", verb, *arguments]
        return run(command, self.scratch)


def options(settings: Mapping[str, object]) -> list[str]:
    """Takes apt settings, gives them as arguments."""
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def from_apt(package: Package, target: Path, apt: Apt) -> None:
    """Takes a package of the distribution, unpacks it in the target and links its programs.

    Raises:
        UnavailableError: as `Apt.fetch` says.
    """
    unpacked = made(target / "packages") / package.debian
    fresh = apt.scratch / package.debian
    run(["dpkg", "-x", str(apt.fetch(package, package.debian)), str(fresh)], apt.scratch)
    if not (fresh / "usr/bin" / package.tool).exists():  # newer suites pack the tool apart
        run(["dpkg", "-x", str(apt.fetch(package, package.tool)), str(fresh)], apt.scratch)
    shutil.rmtree(unpacked, ignore_errors=True)
    fresh.rename(unpacked)
    programs = unpacked / "usr/bin"
    link(programs / package.tool, target / "bin" / package.tool)
    server = programs / (package.debian if (programs / package.debian).exists() else package.name)
    if package.name == "alertmanager" and redirect_templates(server):
        wrapper = WRAPPER.format(templates=unpacked / "usr/share/prometheus/alertmanager", binary=server)
        write_program(target / "bin" / package.name, wrapper.encode())
    else:
        link(server, target / "bin" / package.name)


def run(command: list[str], folder: Path) -> str:
    """Takes a command, gives its standard output.

    Raises:
        UnavailableError: it failed; the text is its first error line.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=environment, check=True
        )
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines() or [str(error)]
        # apt says the cause first, dpkg last, and warnings stand among them.
        cause = next((line for line in said if line.startswith("E:")), said[-1])
        raise UnavailableError(f"{command[0]}: {without_credentials(cause)}") from None
    return answer.stdout


def without_credentials(text: str) -> str:
    """Takes a text, gives it without the passwords that addresses in it may carry."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def redirect_templates(server: Path) -> bool:
    """Takes an unpacked Alertmanager, points its template folder at descriptor 9, says if it had one."""
    program = server.read_bytes()
    if DEBIAN_TEMPLATES not in program:
        return False
    write_program(server, program.replace(DEBIAN_TEMPLATES, OPENED_TEMPLATES))
    return True


def from_release(package: Package, target: Path, releases: str) -> None:
    """Takes the official release tarball, checks it against its pinned checksum, unpacks its two programs.

    Raises:
        UnavailableError: no tarball for this processor, no network, or a wrong checksum.
    """
    kind = architecture()
    if platform.system() != "Linux" or kind not in package.sha256:
        raise UnavailableError(f"no pinned release for {platform.system()} on {platform.machine()}")
    if "@" in releases:
        raise UnavailableError("EPOCHWATCH_RELEASES carries a user name; give an address without one")
    name = f"{package.name}-{package.release}.linux-{kind}"
    address = f"{releases}/{package.name}/releases/download/v{package.release}/{name}.tar.gz"
    with tempfile.TemporaryFile(dir=made(target)) as archive:
        digest = hashlib.sha256()
        try:
            with urllib.request.urlopen(address, timeout=DOWNLOAD_SECONDS) as answer:
                while chunk := answer.read(1 << 20):
                    digest.update(chunk)
                    archive.write(chunk)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UnavailableError(f"{address}: {error}") from None
        if digest.hexdigest() != package.sha256[kind]:
            raise UnavailableError(
                f"{address} has the sha256 {digest.hexdigest()}, not"
                f" {package.sha256[kind]}; it is damaged or not the official release, and was thrown away"
            )
        archive.seek(0)
        with tarfile.open(fileobj=archive) as content:
            for binary in package.binaries:
                member = content.extractfile(f"{name}/{binary}")
                assert member is not None, f"{name} holds no {binary}"
                write_program(target / "bin" / binary, member.read())


def architecture() -> str:
    """Gives the processor's name as release tarballs spell it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def made(folder: Path) -> Path:
    """Takes a folder's name, gives it, there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def link(program: Path, place: Path) -> None:
    """Takes a program, makes a link to it at a place, over what was there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(program)


def write_program(place: Path, content: bytes) -> None:
    """Takes a program's bytes, writes them over what was there, even while that runs."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_bytes(content)
    place.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
