"""Jobs of system cron leave their metrics where Prometheus finds them after they are gone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.exporter.push_receiver import Gateway

from epochwatch.errors import JobError
from epochwatch.supervisor.ended import Ended, Outcome
from epochwatch.supervisor.jobbook import JobBook
from epochwatch.supervisor.jobspec import JobSpec
from epochwatch.supervisor.publishing import Publisher
from epochwatch.troubles import Troubles


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    yield made
    made.close()


@pytest.fixture
def book() -> JobBook:
    """A nightly job that has failed once."""
    spec = JobSpec("nightly", ("true",), schedule="0 2 * * *", timezone="UTC", grace_seconds=300)
    made = JobBook(spec, next_start_at=1_800_000_000.0)
    made.begin(1_799_990_000.0)
    made.end(Ended(Outcome.FAILURE, 3, 1_799_990_000.0, 1_799_990_060.0))
    return made


def samples(text: str) -> dict[str, float]:
    return {
        sample.name
        + "".join(f" {value}" for name, value in sorted(sample.labels.items()) if name != "job_name"): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_textfile(book: JobBook, tmp_path: Path) -> None:
    """One file a job, of the catalogue's names, that node_exporter can read, and nothing beside it."""
    Publisher(book, Troubles(), textfile_dir=tmp_path).publish()

    (path,) = tmp_path.iterdir()
    assert path.name == "epochwatch_nightly.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    found = samples(path.read_text())
    assert found["training_job_last_exit_code"] == 3
    assert found["training_job_next_start_timestamp_seconds"] == 1_800_000_000
    assert found["training_job_start_grace_seconds"] == 300
    assert found["training_job_runs_total failure"] == 1
    assert found["training_job_runs_total success"] == 0
    assert not [name for name in found if name.endswith("_created")]


def test_a_push(book: JobBook, gateway: Gateway) -> None:
    """The job is a group of its own, whatever machine it runs on, and each push replaces it."""
    publisher = Publisher(book, Troubles(), pushgateway=gateway.address)
    publisher.publish()
    book.next_start_at = None
    publisher.publish()

    assert list(gateway.groups) == ["/metrics/job/epochwatch/job_name/nightly"]
    assert "training_job_next_start" not in gateway.groups["/metrics/job/epochwatch/job_name/nightly"]
    assert gateway.logins == ["", ""]


def test_a_push_with_a_password(book: JobBook, gateway: Gateway) -> None:
    """User and password go into the header and into nothing else."""
    troubles = Troubles()
    Publisher(book, troubles, pushgateway=f"http://wang:s%40cret@{gateway.address}").publish()

    assert gateway.logins == [f"Basic {base64.b64encode(b'wang:s@cret').decode()}"]
    assert not troubles.counts


def test_a_name_that_no_path_has(book: JobBook, gateway: Gateway) -> None:
    """A job of any name has a group, named as the Pushgateway's API wants it."""
    book.spec = JobSpec("夜间 50%", ("true",))
    Publisher(book, Troubles(), pushgateway=gateway.address).publish()

    assert list(gateway.groups) == ["/metrics/job/epochwatch/job_name@base64/5aSc6Ze0IDUwJQ=="]


@pytest.mark.parametrize("status", [400, 500])
def test_a_gateway_that_refuses(
    book: JobBook, gateway: Gateway, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported with the host and without the password; nothing is raised."""
    gateway.status = status
    troubles = Troubles()
    Publisher(book, troubles, pushgateway=f"http://wang:hunter22@{gateway.address}").publish()

    assert troubles.counts["job_publish"] == 1
    assert f"{gateway.address} did not take the metrics: HTTP Error {status}" in caplog.text
    assert "hunter22" not in caplog.text


def test_one_way_that_fails_does_not_spoil_the_other(book: JobBook, tmp_path: Path, free_port: int) -> None:
    """With the gateway gone, the file is written all the same."""
    troubles = Troubles()
    publisher = Publisher(book, troubles, textfile_dir=tmp_path, pushgateway=f"127.0.0.1:{free_port}")
    publisher.publish_soon()
    publisher.close()

    assert (tmp_path / "epochwatch_nightly.prom").exists()
    assert troubles.counts["job_publish"] == 2


def test_a_directory_that_is_taken_away(
    book: JobBook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that goes while the job runs is reported, and nothing is raised."""
    directory = tmp_path / "textfile"
    directory.mkdir()
    publisher = Publisher(book, Troubles(), textfile_dir=directory)
    directory.rmdir()
    publisher.publish()

    assert "job_publish: FileNotFoundError" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda book, path: Publisher(book, Troubles(), textfile_dir=path / "none"),
            "none is no directory; give the",
        ),
        (
            lambda book, path: Publisher(book, Troubles(), pushgateway="ftp://h"),
            "must be an address such as http://",
        ),
        (
            lambda book, path: Publisher(book, Troubles(), pushgateway="http://"),
            "must be an address such as http://",
        ),
        (
            lambda book, path: Publisher(book, Troubles(), pushgateway="h:70000"),
            "must be an address such as http://",
        ),
    ],
)
def test_wrong_places(
    book: JobBook, tmp_path: Path, make: Callable[[JobBook, Path], Publisher], message: str
) -> None:
    """A place that cannot be right is refused before anything runs."""
    with pytest.raises(JobError, match=message):
        make(book, tmp_path)
