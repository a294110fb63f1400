"""Runs in processes of their own: signals, forks, exits, imports."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import scrape, wait_until

Trainer = Callable[..., subprocess.Popen[str]]

HEAD = """
import os, signal, sys, time
import epochwatch

def starting(**settings):
    run = epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False, **settings)
    print(run.url, flush=True)
    return run
"""


def script(body: str) -> str:
    return HEAD + textwrap.dedent(body)


def url_of(process: subprocess.Popen[str]) -> str:
    """Gives the url a trainer printed."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()[1]
    return line


def says(process: subprocess.Popen[str], line: str) -> None:
    """Waits for a line of a trainer's output."""
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def ends(process: subprocess.Popen[str], seconds: float = 20) -> tuple[int, str]:
    """Waits for a trainer's end and gives its exit status and what it said on stderr."""
    _, said = process.communicate(timeout=seconds)
    return process.returncode, said


# Short sleeps: a signal that comes just before a long system call waits, in Python, for the end of that call.
LOOP = """
with starting() as run:
    run.step(loss=1.0)
    print("training", flush=True)
    while True:
        run.step(loss=1.0)
        time.sleep(0.01)
"""


def test_sigterm_is_an_interruption_and_kills_as_ever(trainer: Trainer) -> None:
    """SIGTERM is shown as interrupted until it is scraped; then the process dies of that very signal."""
    process = trainer(script(LOOP))
    url = url_of(process)
    says(process, "training")
    assert scrape(url).state() == ["training"]
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: scrape(url).state() == ["interrupted"])
    assert ends(process) == (-signal.SIGTERM, "")


def test_sigterm_ends_the_first_process_of_a_container(tmp_path: Path) -> None:
    """Process 1, whom the kernel spares the default action, leaves with the status a shell gives to SIGTERM."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        unshare.append("--map-root-user")
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine gives no process namespaces")
    path = tmp_path / "train.py"
    path.write_text(script(LOOP))
    process = subprocess.Popen(
        [*unshare, sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url_of(process)
        says(process, "training")
        (trainer,) = children(process.pid)
        os.kill(trainer, signal.SIGTERM)
        assert ends(process) == (128 + signal.SIGTERM, "")
    finally:
        process.kill()
        process.communicate()


def test_a_second_sigterm_does_not_wait(trainer: Trainer) -> None:
    """Whoever asks twice does not want to wait for a scrape."""
    process = trainer(script(LOOP))
    scrape(url_of(process))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ends(process, 5)[0] == -signal.SIGTERM


def test_sigint_is_an_interruption_and_a_second_one_ends_the_wait(trainer: Trainer) -> None:
    """Ctrl-C shows interrupted; pressing it again leaves at once, with the first KeyboardInterrupt."""
    process = trainer(script(LOOP))
    url = url_of(process)
    says(process, "training")
    assert scrape(url).state() == ["training"]
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    status, said = ends(process, 5)
    assert status == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1


def test_a_handler_of_the_user_keeps_the_last_word(trainer: Trainer) -> None:
    """Who catches SIGTERM to save and leave in order does so; the run still counts as interrupted."""
    process = trainer(
        script("""
        stop = []
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
        with starting() as run:
            run.step(loss=1.0)
            print("training", flush=True)
            while not stop:
                run.step(loss=1.0)
                time.sleep(0.01)
            print("saved", flush=True)
        print(signal.getsignal(signal.SIGTERM)(15, None), stop, flush=True)
        """)
    )
    url = url_of(process)
    says(process, "training")
    assert scrape(url).state() == ["training"]
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: scrape(url).state() == ["interrupted"])
    out, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")
    assert out.splitlines() == ["saved", "None [15, 15]"]


def test_an_exception_comes_out_untouched(trainer: Trainer) -> None:
    """The traceback of a crash is the one it would have been."""
    process = trainer(script('with starting() as run:\n    raise ValueError("no")\n'))
    status, said = ends(process)
    assert status == 1
    assert said.rstrip().endswith("ValueError: no")
    assert "epochwatch/" not in said


@pytest.mark.parametrize(
    ("last_line", "state", "status"),
    [("pass", "finished", 0), ("raise ValueError('no')", "failed", 1), ("os._exit(7)", None, 7)],
)
def test_a_run_without_a_with_block_ends_with_its_process(
    last_line: str, state: str | None, status: int, trainer: Trainer
) -> None:
    """At exit the run ends by itself, told apart by whether an exception got through; os._exit is sudden."""
    process = trainer(script(f"run = starting()\nsys.stdin.readline()\n{last_line}\n"), stdin=subprocess.PIPE)
    url = url_of(process)
    assert scrape(url).state() == ["starting"]
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    if state is not None:
        wait_until(lambda: scrape(url).state() == [state])
    assert ends(process)[0] == status


FORKED = """
import torch
from torch.utils.data import DataLoader

with starting() as run:
    loader = DataLoader(torch.arange(64.0), batch_size=4, num_workers=2, persistent_workers={persistent},
                        multiprocessing_context={context!r})
    for epoch in run.epochs(10_000):
        for batch in run.batches(loader):
            run.step(loss=batch.sum(), samples=len(batch))
            time.sleep(0.001)
        if epoch == 1:
            print("two epochs", flush=True)
            time.sleep(0.05)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("persistent", [False, True], ids=["workers anew", "workers kept"])
def test_a_killed_trainer_frees_its_port_at_once(persistent: bool, trainer: Trainer) -> None:
    """Forked DataLoader workers outlive a SIGKILL for a while, but hold neither port nor connection."""
    process = trainer(script(FORKED.format(persistent=persistent, context="fork")))
    url = url_of(process)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as open_before_the_fork:
        says(process, "two epochs")
        assert scrape(url).value("training_steps_total")
        workers = children(process.pid)
        assert workers or not persistent
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        # The workers notice only at their next look for their parent, seconds later.
        assert open_before_the_fork.recv(1) == b""
        with socket.socket() as successor:
            successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            successor.bind((host, int(port)))
            successor.listen()
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Gives the processes a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def test_spawned_workers_get_an_inert_handle(trainer: Trainer) -> None:
    """A dataset that holds the handle can be sent to spawned workers; they serve and break nothing."""
    process = trainer(
        script("""
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Watched(Dataset):
            def __init__(self, run):
                self.run = run
            def __len__(self):
                return 8
            def __getitem__(self, index):
                self.run.step(loss=1.0)
                assert self.run.url == ""
                return index

        if __name__ == "__main__":
            with starting() as run:
                loader = DataLoader(Watched(run), num_workers=1, multiprocessing_context="spawn")
                for batch in run.batches(loader):
                    run.step(loss=batch.sum())
                with run._books.recorder.reading() as ledger:
                    print(ledger.steps, flush=True)
        """)
    )
    url_of(process)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), said) == (0, "8", "")


def test_a_forked_child_ends_nothing(trainer: Trainer, tmp_path: Path) -> None:
    """A child that inherits the run and leaves its with block, or exits, leaves the parent's run alone."""
    process = trainer(
        script(f"""
        run = starting(targets_dir={str(tmp_path / "targets")!r})
        with run:
            for way in ("leave", "exit"):
                child = os.fork()
                if child == 0:
                    for _ in range(5000):
                        run.step(loss=1.0)
                    run.finish("failed")
                    if way == "exit":
                        sys.exit(0)
                    os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
                assert os.waitpid(child, 0)[1] == 0
            run.step(loss=1.0)
            print("children gone", flush=True)
            while True:
                time.sleep(0.01)
        """)
    )
    url = url_of(process)
    says(process, "children gone")
    seen = scrape(url)
    assert (seen.state(), seen.value("training_steps_total")) == (["training"], 1)
    assert len(list((tmp_path / "targets").glob("*.json"))) == 1
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: scrape(url).state() == ["interrupted"])
    assert ends(process)[0] == -signal.SIGTERM
    assert not list((tmp_path / "targets").iterdir())


def test_a_fork_in_the_middle_of_a_fold_does_not_deadlock(trainer: Trainer) -> None:
    """A child forked while a scrape holds the ledger's lock goes on."""
    process = trainer(
        script("""
        run = starting()
        with run._books.recorder.reading():
            child = os.fork()
        if child == 0:
            for _ in range(5000):
                run.step(loss=1.0)
            run.state_dict()
            os._exit(0)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                break
            time.sleep(0.01)
        else:
            os.kill(child, 9)
            sys.exit("the child hangs")
        """)
    )
    url_of(process)
    assert ends(process) == (0, "")


def test_a_million_steps_leave_no_memory_behind(trainer: Trainer) -> None:
    """A long training, read now and then, is as large as a short one."""
    process = trainer(
        script("""
        import gc, urllib.request

        def resident_bytes():
            gc.collect()
            with open("/proc/self/statm") as sizes:
                pages = int(sizes.read().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")

        def steps(count):
            for step in range(count):
                run.step(loss=2.0 + step % 7, lr=0.1, grad_norm=1.0, samples=32)
                if step % 50_000 == 0:
                    with urllib.request.urlopen(run.url + "/metrics") as answer:
                        answer.read()

        run = starting()
        steps(100_000)
        before = resident_bytes()
        steps(1_000_000)
        print(resident_bytes() - before, flush=True)
        run._session.end("finished", hold=False)
        """)
    )
    url_of(process)
    out, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    assert int(out) < 1_000_000


def test_the_import_is_light() -> None:
    """epochwatch imports no torch, no NumPy, no flask and no NVML, and works without them."""
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'flask', 'pynvml'): sys.modules[name] = None\n"
        "import epochwatch\n"
        "with epochwatch.start('digits', port=0, addr='127.0.0.1') as run:\n"
        "    run.step(loss=1.0)\n"
        "    import urllib.request\n"
        "    print(urllib.request.urlopen(run.url + '/metrics').read().decode())\n"
        "    run._session.end('finished', hold=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^training_steps_total\{.*\} 1.0$", done.stdout, re.MULTILINE)


def test_the_directory_is_no_package() -> None:
    """A bare `import exporter` finds nothing of ours: many a repository has an exporter.py of its own."""
    root = Path(__file__).parents[2]
    assert not (root / "exporter" / "__init__.py").exists()
    done = subprocess.run(
        [sys.executable, "-c", "import exporter"], capture_output=True, text=True, cwd="/", timeout=60
    )
    assert "No module named 'exporter'" in done.stderr


def test_the_command_tells_its_version() -> None:
    """`epochwatch --version` says which one is installed."""
    import epochwatch

    command = Path(sys.executable).with_name("epochwatch")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"epochwatch, version {epochwatch.__version__}\n")
