"""How Prometheus finds a run: the target files, and a real Prometheus that reads them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import epochwatch
from demo.stack import BINARIES
from epochwatch.discovery import TargetFile

from .conftest import scrape, wait_until

Start = Callable[..., epochwatch.Run]
Trainer = Callable[..., subprocess.Popen[str]]
PROMETHEUS = shutil.which("prometheus", path=f"{BINARIES}:{os.environ['PATH']}")


def test_a_run_announces_itself_and_takes_it_back(start: Start, tmp_path: Path) -> None:
    """The file says where the run is while it runs, in the strict form of file_sd, and nothing else is there."""
    directory = tmp_path / "deep" / "targets"
    run = start("digits", targets_dir=directory)
    (announced,) = directory.iterdir()
    expected = [{"targets": [run.url.removeprefix("http://")], "labels": {"__meta_epochwatch_run": "digits"}}]
    assert json.loads(announced.read_text()) == expected
    run._session.end("finished", hold=False)
    assert not list(directory.iterdir())


@pytest.mark.parametrize(
    ("advertise", "target"),
    [
        (None, "127.0.0.1:{port}"),
        ("gpu-01.example.com", "gpu-01.example.com:{port}"),
        ("203.0.113.7:19400", "203.0.113.7:19401"),
        ("[2001:db8::7]", "[2001:db8::7]:{port}"),
        ("[2001:db8::7]:19400", "[2001:db8::7]:19401"),
    ],
)
def test_what_is_advertised_is_what_prometheus_is_told(
    advertise: str | None, target: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind NAT the file and the run's url name the outer address; a published port goes up with the rank."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    run = start(advertise=advertise, targets_dir=tmp_path)
    (announced,) = tmp_path.iterdir()
    expected = target.format(port=run._session._server.port)
    assert json.loads(announced.read_text())[0]["targets"] == [expected]
    assert run.url == f"http://{expected}"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """The .json appears whole: at every moment it can be parsed or is not there."""
    target_file = TargetFile(tmp_path, "gpu-01", os.getpid(), 9400)
    target_file.write("10.0.0.1:9400", {})
    for _ in range(200):
        target_file.write("10.0.0.1:9400", {"__meta_epochwatch_run": "x" * 5000})
        assert json.loads(target_file.path.read_text())
    assert [path.name for path in tmp_path.iterdir()] == [target_file.path.name]


def dead() -> int:
    """Gives the id of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_dead_of_this_host_are_cleared_and_nobody_else(tmp_path: Path) -> None:
    """A start removes the files of this host's dead processes; the living and other hosts keep theirs."""
    gone = dead()
    TargetFile(tmp_path, "gpu-01", gone, 9400).write("10.0.0.1:9400", {})
    living = TargetFile(tmp_path, "gpu-01", 1, 9401)
    living.write("10.0.0.1:9401", {})
    elsewhere = TargetFile(tmp_path, "gpu-02", gone, 9400)
    elsewhere.write("10.0.0.2:9400", {})
    foreign = tmp_path / "epochwatch-notes.json"
    foreign.write_text("[]")
    own = TargetFile(tmp_path, "gpu-01", os.getpid(), 9402)
    own.write("10.0.0.1:9402", {})
    assert set(tmp_path.iterdir()) == {living.path, elsewhere.path, foreign, own.path}


def test_a_file_that_cannot_be_removed_keeps_no_run_from_being_found(tmp_path: Path) -> None:
    """The own file is written first, and each dead one is tried by itself."""
    gone = dead()
    stuck = TargetFile(tmp_path, "gpu-01", gone, 9400)
    stuck.path.mkdir()
    TargetFile(tmp_path, "gpu-01", gone, 9401).write("10.0.0.1:9401", {})
    own = TargetFile(tmp_path, "gpu-01", os.getpid(), 9402)
    own.write("10.0.0.1:9402", {})
    assert set(tmp_path.iterdir()) == {stuck.path, own.path}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_colleagues_dead_run_keeps_no_run_from_being_found() -> None:
    """In a folder that all may write, where each may remove his own files alone, the next user's run is announced."""
    with tempfile.TemporaryDirectory() as shared:
        folder = Path(shared)
        folder.chmod(0o1777)
        theirs = TargetFile(folder, "gpu-01", dead(), 9400)
        theirs.write("10.0.0.1:9400", {})
        os.chown(theirs.path, 65533, 65533)
        code = (
            "import os, pathlib, sys; from epochwatch.discovery import TargetFile\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "TargetFile(pathlib.Path(sys.argv[1]), 'gpu-01', os.getpid(), 9401).write('10.0.0.1:9401', {})\n"
        )
        subprocess.run([sys.executable, "-c", code, shared], check=True, timeout=60)
        ours = folder.glob("epochwatch-gpu_01-*-9401.json")
        assert set(folder.iterdir()) == {theirs.path, *ours}
        assert len(list(folder.iterdir())) == 2


def test_processes_of_another_container_are_not_judged(tmp_path: Path) -> None:
    """Ids of processes say nothing across containers; one's own dead are cleared, and who was at one's address."""
    gone = dead()
    names = {"other": "0" * 12, "own": "a1" * 6, "machine": ""}
    files = {
        name: TargetFile(tmp_path, "gpu-01", gone, 9400, container=container)
        for name, container in names.items()
    }
    for number, file in enumerate(files.values()):
        file.write(f"10.0.0.1:{9400 + number}", {})
    before = TargetFile(tmp_path, "gpu-01", 1, 9409, container="b2" * 6)
    before.write("10.0.0.1:9409", {})
    assert len(list(tmp_path.iterdir())) == 4
    own = TargetFile(tmp_path, "gpu-01", os.getpid(), 9409, container=names["own"])
    own.write("10.0.0.1:9409", {})
    assert set(tmp_path.iterdir()) == {files["other"].path, files["machine"].path, own.path}


def test_a_second_container_of_one_host_name_leaves_a_running_training_alone(tmp_path: Path) -> None:
    """The first one's process id is nobody's in the second one; its file stays until its run ends."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        unshare.append("--map-root-user")
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine gives no process namespaces")
    script, targets = tmp_path / "train.py", tmp_path / "targets"
    script.write_text(TRAINING)
    # After many others, so that its id is none of the second one's, nor of its threads.
    others = "for number in $(seq 40); do env true; done"
    first = [*unshare, "sh", "-c", f"{others}; {sys.executable} {script} first 0 {targets}; exit $?"]
    second = [*unshare, sys.executable, script, "second", "0", targets]
    containers = [subprocess.Popen(first)]
    try:
        (ours,) = wait_until(lambda: list(targets.glob("*.json")), 30)
        containers.append(subprocess.Popen(second))
        wait_until(lambda: len({ours, *targets.glob("*.json")}) == 2, 30)
        assert ours.exists()
    finally:
        for container in containers:
            container.kill()
            container.wait(10)


def test_odd_host_names_stay_inside_the_directory(tmp_path: Path) -> None:
    """A host name cannot lead the file elsewhere."""
    assert TargetFile(tmp_path, "../../etc/x", 5, 9400).path.parent == tmp_path


@pytest.fixture
def query(tmp_path: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Starts a Prometheus that watches tmp_path/targets; gives what asks it for `run` labels by value."""
    if PROMETHEUS is None:
        pytest.fail("no Prometheus; prometheus/install.py makes one available")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "targets").mkdir()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: training\n"
        f"    file_sd_configs: [{{files: ['{tmp_path}/targets/*.json']}}]\n"
    )
    log = (tmp_path / "prometheus.log").open("w")
    process = subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
    )

    def asker(expression: str) -> dict[str, str]:
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/v1/query?{parameters}", timeout=10
        ) as answer:
            result = json.load(answer)["data"]["result"]
        return {series["metric"].get("run", ""): series["value"][1] for series in result}

    yield asker
    process.kill()
    process.wait(10)
    log.close()


TRAINING = """
import sys, time
import epochwatch
with epochwatch.start(sys.argv[1], port=int(sys.argv[2]), addr="127.0.0.1", targets_dir=sys.argv[3], gpu=False) as run:
    while True:
        run.step(loss=1.0)
        time.sleep(0.05)
"""


@pytest.mark.stack
def test_prometheus_finds_two_runs_that_asked_for_one_port(
    query: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    """Both are discovered, the end state of one is recorded, and a killed one stays a target so that it shows."""
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runs = [
        subprocess.Popen([sys.executable, script, name, str(port), tmp_path / "targets"])
        for name in ("first", "second")
    ]
    try:
        wait_until(lambda: set(query("training_steps_total > 0")) == {"first", "second"}, 40)
        runs[0].send_signal(signal.SIGTERM)
        runs[0].wait(20)
        assert set(query('training_run_state{state="interrupted"} == 1')) == {"first"}
        runs[1].send_signal(signal.SIGKILL)
        runs[1].wait(20)
        wait_until(lambda: query("up") == {"": "0"}, 20)
    finally:
        for run in runs:
            run.kill()
            run.wait(10)


def test_port_and_local_rank(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank of a node serves on the port asked for plus its rank on the node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "GROUP_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    run = start(port=port - 1)
    assert run.url.endswith(f":{port}")
    seen = scrape(run)
    assert seen.value("training_rank_info", rank="5", local_rank="1", node_rank="1", world_size="8") == 1


def test_a_rank_beyond_the_last_port_gets_a_free_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port asked for plus the rank may be no port at all."""
    for name, value in {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    run = start(port=65535)
    assert int(run.url.rsplit(":", 1)[1]) > 1024
    assert scrape(run).state() == ["starting"]


DISTRIBUTED = """
import os, sys, time

if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ("1", "0"):
    sys.exit(3)  # torchrun starts all ranks again

import torch, torch.distributed as distributed
import epochwatch

distributed.init_process_group("gloo")
rank = distributed.get_rank()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
with epochwatch.start("ddp", port=0, addr="127.0.0.1", targets_dir=sys.argv[1], gpu=False) as run:
    for step in range(20):
        began = time.perf_counter()
        with run.part("forward"):
            if rank == 1:
                time.sleep(0.1)  # the straggler
            loss = model(torch.randn(16, 8)).square().mean()
        with run.part("backward"):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        # The rank that knows the loss need not be 0.
        run.step(loss=loss if rank == 1 else None, samples=16)
    distributed.barrier()
    for step in range(30 if rank == 0 else 0):
        run.step(samples=16)  # on its own: the ranks are out of step
    while not os.path.exists(sys.argv[1] + "/../done"):
        time.sleep(0.02)
    distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_ranks_are_two_targets_with_their_own_times(tmp_path: Path) -> None:
    """Under torchrun each rank serves its own series: the straggler, a rank out of step and a restart are seen."""
    script, targets = tmp_path / "train.py", tmp_path / "targets"
    script.write_text(DISTRIBUTED)
    launched = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--max-restarts", "1", "--monitor-interval", "0.2"),
            *("--standalone", script, targets),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    steps = {"0": 50, "1": 20}
    try:
        urls = wait_until(lambda: announced(targets, 2), 90)
        assert isinstance(urls, list)
        wait_until(
            lambda: {scrape(url).value("training_global_step") for url in urls} == set(steps.values()), 60
        )
        ranks = {
            rank: seen
            for seen in map(scrape, urls)
            for rank in ("0", "1")
            if seen.value("training_run_info", rank=rank)
        }
        assert set(ranks) == {"0", "1"}
        for rank, seen in ranks.items():
            assert seen.value("training_rank_info", local_rank=rank, world_size="2") == 1
            assert seen.value("training_global_step") == steps[rank]
            assert seen.value("training_samples_total") == 16 * steps[rank]
            assert seen.value("training_restart_count") == 1
            assert (seen.value("training_loss", phase="train") is not None) == (rank == "1")
        forward = {
            rank: seen.value("training_step_part_seconds_total", part="forward") or 0
            for rank, seen in ranks.items()
        }
        assert forward["1"] > 2 > forward["0"] * 1.5
        (tmp_path / "done").touch()
        assert launched.wait(60) == 0, launched.communicate()[1]
    finally:
        launched.terminate()
        launched.communicate()
    assert not list(targets.iterdir())


def announced(targets: Path, count: int) -> list[str] | None:
    """Gives the urls in the target files once there are as many as expected."""
    files = list(targets.glob("*.json"))
    if len(files) < count:
        return None
    return [f"http://{json.loads(path.read_text())[0]['targets'][0]}" for path in files]
