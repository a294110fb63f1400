"""What the kernel says of a control group, in both versions of the interface."""

from pathlib import Path

import pytest

from epochwatch.supervisor.cgroup import Cgroup, OomKills, own_cgroup

V2_EVENTS = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n"
V1_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"


def group(directory: Path, version: int, processes: str = "10\n11\n") -> Cgroup:
    """Makes a directory look like a control group."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.procs").write_text(processes)
    if version == 2:
        (directory / "memory.events").write_text(V2_EVENTS)
        (directory / "memory.stat").write_text("anon 1000\nfile 5000\nshmem 200\n")
    else:
        (directory / "memory.oom_control").write_text(V1_CONTROL)
        (directory / "memory.stat").write_text("rss 1\ntotal_cache 9000\ntotal_rss 3000\ntotal_shmem 50\n")
    return Cgroup(directory, version)


@pytest.mark.parametrize(("version", "kills", "resident"), [(2, 3, 1200), (1, 4, 3050)])
def test_kills_and_memory_are_read(tmp_path: Path, version: int, kills: int, resident: int) -> None:
    """The killer's count, and memory without the page cache."""
    cgroup = group(tmp_path, version)
    assert cgroup.oom_kills() == kills
    assert cgroup.resident_bytes([10, 11, 12]) == resident


def test_a_group_that_others_are_in_says_nothing_of_the_job(tmp_path: Path) -> None:
    """Neither with a foreign process nor with groups below it."""
    assert group(tmp_path / "a", 2).resident_bytes([10]) is None
    cgroup = group(tmp_path / "b", 2)
    (tmp_path / "b" / "below").mkdir()
    assert cgroup.resident_bytes([10, 11]) is None


def test_without_a_group_the_machines_count_is_taken(tmp_path: Path) -> None:
    """The kernel counts kills of the whole machine too."""
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 7\n")
    assert OomKills(None, tmp_path / "vmstat").count() == 7
    assert OomKills(group(tmp_path / "group", 2), tmp_path / "vmstat").count() == 3
    assert OomKills(None, tmp_path / "missing").count() == 0


@pytest.mark.parametrize(
    ("cgroups", "mount", "place", "version"),
    [
        # A container with a namespace of its own, and one without, where the mount begins at the group.
        ("0::/\n", "30 1 0:26 / {root} rw - cgroup2 cgroup2 rw", "", 2),
        (
            "0::/user.slice/run.scope\n",
            "30 1 0:26 / {root} rw - cgroup2 cgroup2 rw",
            "user.slice/run.scope",
            2,
        ),
        ("0::/docker/3f2a\n", "30 1 0:26 /docker/3f2a {root} rw - cgroup2 cgroup rw", "", 2),
        (
            "5:cpu:/a\n4:memory:/b\n0::/\n",
            "31 1 0:27 / /elsewhere rw - cgroup cgroup rw,cpu\n30 1 0:26 / {root} rw - cgroup cgroup rw,memory",
            "b",
            1,
        ),
    ],
)
def test_the_own_group_is_found(tmp_path: Path, cgroups: str, mount: str, place: str, version: int) -> None:
    """In both versions, with a namespace and without."""
    root = tmp_path / "sys"
    group(root / place, version)
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroups)
    (proc / "mountinfo").write_text(mount.format(root=root) + "\n")
    assert own_cgroup(proc) == Cgroup(root / place, version)


def test_no_group_is_none(tmp_path: Path) -> None:
    """On a machine without the controller, and where /proc says nothing."""
    assert own_cgroup(tmp_path) is None
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(f"30 1 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert own_cgroup(tmp_path) is None


def test_the_time_of_a_kill_is_known(tmp_path: Path) -> None:
    """A kill of an hour ago is not why something has died now."""
    now = [100.0]
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 7\n")
    kills = OomKills(None, vmstat, clock=lambda: now[0])
    kills.look()
    assert kills.seconds_since_last() == float("inf")
    vmstat.write_text("oom_kill 8\n")
    kills.look()
    now[0] = 3700.0
    kills.look()
    assert kills.seconds_since_last() == 3600.0
