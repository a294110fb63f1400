"""Where install.py takes Prometheus and Alertmanager from, and what it says where it cannot."""

import hashlib
import http.server
import io
import platform
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

INSTALLER = Path(__file__).parents[2] / "prometheus" / "install.py"
TOOLS = ("prometheus", "promtool", "alertmanager", "amtool")


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    """The script, as a module."""
    spec = spec_from_file_location("prometheus_install", INSTALLER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def program(folder: Path, name: str, version: str) -> None:
    """Takes a name, makes a program that says its version and, as a server, that it listens."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name}, version {version} (branch: HEAD)"\necho "Listening on" >&2\n')
    path.chmod(0o755)


def install(tmp_path: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Takes what is on PATH, runs the script the way make does, with no release to be had."""
    return subprocess.run(
        [sys.executable, INSTALLER],
        env={
            "PATH": str(path),
            "EPOCHWATCH_STACK": str(tmp_path / "stack"),
            "EPOCHWATCH_RELEASES": "http://127.0.0.1:1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_programs_on_path_are_linked(tmp_path: Path) -> None:
    """Programs on PATH that are new enough are used where they are, and the line says so."""
    on_path = tmp_path / "programs"
    for name, version in zip(TOOLS, ("2.42.0", "2.42.0", "0.25.0", "0.25.0"), strict=True):
        program(on_path, name, version)

    done = install(tmp_path, on_path)

    bin_folder = tmp_path / "stack" / "bin"
    assert done.stdout == (
        f"prometheus: prometheus 2.42.0 in {bin_folder} (from PATH),"
        f" alertmanager 0.25.0 in {bin_folder} (from PATH)\n"
    )
    assert {name: (bin_folder / name).readlink() for name in TOOLS} == {
        name: on_path / name for name in TOOLS
    }


def test_debian_names_its_server_otherwise(tmp_path: Path) -> None:
    """Debian's prometheus-alertmanager on PATH is taken for alertmanager."""
    on_path = tmp_path / "programs"
    for name in ("prometheus", "promtool"):
        program(on_path, name, "3.5.0")
    for name in ("prometheus-alertmanager", "amtool"):
        program(on_path, name, "0.28.1")

    done = install(tmp_path, on_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "stack/bin/alertmanager").readlink() == on_path / "prometheus-alertmanager"


def test_second_run_keeps_what_is_there(tmp_path: Path) -> None:
    """A second run leaves everything as it is, though PATH is empty by then."""
    on_path = tmp_path / "programs"
    for name in TOOLS:
        program(on_path, name, "3.5.0")
    install(tmp_path, on_path)
    before = {name: (tmp_path / "stack/bin" / name).lstat().st_mtime_ns for name in TOOLS}

    done = install(tmp_path, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "from" not in done.stdout
    assert before == {name: (tmp_path / "stack/bin" / name).lstat().st_mtime_ns for name in TOOLS}


def test_nothing_to_be_had(tmp_path: Path) -> None:
    """Without programs, apt and network, every way is named with its reason, and what to do."""
    done = install(tmp_path, tmp_path)

    kind = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[:7] == [
        "prometheus and promtool 2.42 or newer are needed and could not be had:",
        "  PATH: no prometheus on PATH",
        "  apt: no apt-get on this machine",
        "  release: http://127.0.0.1:1/prometheus/releases/download/v3.5.0/prometheus-3.5.0.linux-"
        f"{kind}.tar.gz: <urlopen error [Errno 111] Connection refused>",
        f"Without a network: fetch prometheus-3.5.0.linux-{kind}.tar.gz from",
        "https://github.com/prometheus/prometheus/releases on another machine, unpack it,"
        " put its folder on PATH,",
        "and run this again.",
    ]


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        (
            "prometheus",
            "2.41.0",
            "  PATH: {path}/prometheus there is 2.41.0; 2.42 is the oldest that works",
        ),
        ("promtool", "2.31.2", "  PATH: {path}/promtool there is 2.31.2; 2.42 is the oldest that works"),
        ("amtool", "0.24.0", "  PATH: {path}/amtool there is 0.24.0; 0.25 is the oldest that works"),
        (
            "alertmanager",
            "unknown",
            "  PATH: {path}/alertmanager --version says no version (exit status 0)",
        ),
    ],
)
def test_unfit_program_is_refused(tmp_path: Path, name: str, version: str, message: str) -> None:
    """A program on PATH that is too old, or says no version, is named and not used."""
    on_path = tmp_path / "programs"
    for each in TOOLS:
        program(on_path, each, "3.5.0")
    program(on_path, name, version)

    done = install(tmp_path, on_path)

    assert done.returncode == 1
    assert message.format(path=on_path) in done.stderr.splitlines()
    assert not (tmp_path / "stack/bin" / name).exists()


def test_alertmanager_that_does_not_start_is_refused(tmp_path: Path) -> None:
    """An Alertmanager that says its version and then cannot load its templates is refused."""
    on_path = tmp_path / "programs"
    for each in TOOLS:
        program(on_path, each, "3.5.0")
    broken = on_path / "alertmanager"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && echo version 0.25.0 || echo no default.tmpl >&2\n')

    done = install(tmp_path, on_path)

    assert done.returncode == 1
    assert (
        f"  PATH: {tmp_path}/stack/bin/alertmanager does not start: no default.tmpl"
        in done.stderr.splitlines()
    )


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be made is named, with the variable that picks another."""
    (tmp_path / "file").touch()

    done = install(tmp_path, tmp_path, EPOCHWATCH_STACK=str(tmp_path / "file" / "stack"))

    assert done.returncode == 1
    assert done.stderr == (
        f"cannot write to {tmp_path}/file/stack: Not a directory; set EPOCHWATCH_STACK to a folder of yours\n"
    )


class Releases(http.server.BaseHTTPRequestHandler):
    """Serves one body at every address."""

    body = b""

    def do_GET(self) -> None:
        """Answers with the body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        """Stays silent."""


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that has one tarball, the parameter."""
    handler = type("Handler", (Releases,), {"body": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def tarball(folder: str, files: Mapping[str, bytes]) -> bytes:
    """Takes files, gives a release tarball of them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PUBLISHED = tarball(
    f"amtest-1.0.0.linux-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}[platform.machine()] }",
    {
        "amtest": b"#!/bin/sh\necho version 1.0.0\n",
        "amtool": b"#!/bin/sh\necho version 1.0.0\n",
        "LICENSE": b"...",
    },
)


@pytest.mark.parametrize("release", [PUBLISHED], indirect=True)
def test_release_is_unpacked(installer: ModuleType, release: str, tmp_path: Path) -> None:
    """A tarball with the pinned checksum gives its two programs, executable, and nothing else."""
    digest = hashlib.sha256(PUBLISHED).hexdigest()
    package = installer.Package("amtest", "amtool", (1, 0), "x", "1.0.0", {"amd64": digest, "arm64": digest})

    installer.from_release(package, tmp_path, release)

    assert installer.check(package, tmp_path / "bin") == "1.0.0"
    assert sorted(file.name for file in (tmp_path / "bin").iterdir()) == ["amtest", "amtool"]


@pytest.mark.parametrize("release", [b"not the release"], indirect=True)
def test_release_with_another_checksum_is_refused(tmp_path: Path, release: str) -> None:
    """A download whose checksum is not the pinned one is refused by both sums, and nothing is unpacked."""
    done = install(tmp_path, tmp_path, EPOCHWATCH_RELEASES=release)

    digest = hashlib.sha256(b"not the release").hexdigest()
    assert done.returncode == 1
    assert f"has the sha256 {digest}, not " in done.stderr
    assert "it is damaged or not the official release, and was thrown away" in done.stderr
    assert list((tmp_path / "stack").glob("bin/*")) == []


def test_password_in_the_mirror_address_is_refused(tmp_path: Path) -> None:
    """A mirror's address with a password in it is refused without being repeated."""
    done = install(tmp_path, tmp_path, EPOCHWATCH_RELEASES="https://reader:hunter2@mirror.example.com")

    assert "  release: EPOCHWATCH_RELEASES carries a user name; give an address without one" in done.stderr
    assert "hunter2" not in done.stderr


def test_mirror_credentials_stay_out_of_messages(installer: ModuleType) -> None:
    """An apt error that quotes an address with a password is shown without it."""
    error = "E: Failed to fetch http://reader:hunter2@mirror.example.com/debian/x.deb  503"

    assert (
        installer.without_credentials(error)
        == "E: Failed to fetch http://mirror.example.com/debian/x.deb  503"
    )


def test_unpacked_alertmanager_finds_its_templates(installer: ModuleType, tmp_path: Path) -> None:
    """The folder that Debian compiles in is replaced by one of equal length, every time it occurs."""
    server = tmp_path / "server"
    server.write_bytes(b"\0" + installer.DEBIAN_TEMPLATES + b"\0ui:" + installer.DEBIAN_TEMPLATES + b"/ui\0")

    assert installer.redirect_templates(server)
    assert server.read_bytes().count(installer.OPENED_TEMPLATES) == 2
    assert len(installer.OPENED_TEMPLATES) == len(installer.DEBIAN_TEMPLATES)
    assert not installer.redirect_templates(server)
