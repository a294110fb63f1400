"""Who may read /metrics: HTTPS and a bearer token."""

import json
import logging
import re
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import epochwatch
from epochwatch.secret import Secret

from .conftest import scrape

Start = Callable[..., epochwatch.Run]
TOKEN = "tok-4f2a9c0d5e7b813f6a60"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    cert, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=digits",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def get(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str]:
    """Gives status and body of /metrics."""
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_https_is_served_and_announced(start: Start, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """With a certificate the endpoint speaks TLS, and the target file tells Prometheus so."""
    cert, key = certificate
    run = start(tls_cert=cert, tls_key=key, targets_dir=tmp_path)
    assert run.url.startswith("https://127.0.0.1:")
    status, body = get(run.url, ssl.create_default_context(cafile=str(cert)))
    assert status == 200
    assert "training_steps_total" in body
    (announced,) = tmp_path.glob("*.json")
    assert json.loads(announced.read_text())[0]["labels"]["__scheme__"] == "https"


def test_clients_without_tls_or_trust_hinder_nobody(start: Start, certificate: tuple[Path, Path]) -> None:
    """A plain-text client and one that does not trust the certificate are dropped; the next is served."""
    cert, key = certificate
    run = start(tls_cert=cert, tls_key=key)
    with socket.create_connection(("127.0.0.1", int(run.url.rsplit(":", 1)[1])), timeout=10) as plain:
        plain.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert plain.recv(65536)[:5] != b"HTTP/"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(run.url, ssl.create_default_context())
    assert get(run.url, ssl.create_default_context(cafile=str(cert)))[0] == 200


def test_a_certificate_without_its_key_is_refused(start: Start, certificate: tuple[Path, Path]) -> None:
    """A certificate that cannot be used is a teaching error at start, and leaves nothing open."""
    with pytest.raises(
        epochwatch.ServeError, match=r"cannot serve HTTPS with .*cert\.pem.*EPOCHWATCH_TLS_KEY"
    ):
        start(tls_cert=certificate[0])


BAD = [
    (
        {"tls_cert": "/nowhere/cert.pem"},
        "tls_cert must be a file that can be read (No such file or directory); got '/nowhere/cert.pem' "
        "(argument tls_cert=, environment EPOCHWATCH_TLS_CERT)",
    ),
    (
        {"tls_key": "/dev/null"},
        "tls_cert must be given with tls_key (argument tls_cert=, environment EPOCHWATCH_TLS_CERT)",
    ),
    (
        {"token": "two words"},
        "token must be a text of printable ASCII characters without spaces "
        "(argument token=, environment EPOCHWATCH_TOKEN)",
    ),
    (
        {"token_file": "/dev/null"},
        "token_file must be a text of printable ASCII characters without spaces "
        "(argument token_file=, environment EPOCHWATCH_TOKEN_FILE)",
    ),
    (
        {"token": TOKEN, "token_file": "/dev/null"},
        "token_file must not be given together with token "
        "(argument token_file=, environment EPOCHWATCH_TOKEN_FILE)",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_cannot_be_used_is_refused(wrong: dict[str, object], message: str, start: Start) -> None:
    """A missing certificate or an unusable token raises at start and does not show the token."""
    with pytest.raises(epochwatch.SettingsError, match=f"^{re.escape(message)}$"):
        start(**wrong)


@pytest.mark.parametrize("way", ["argument", "variable", "file"])
def test_only_who_shows_the_token_may_read(
    way: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the token, or with another, the answer is 401 and holds nothing of the run."""
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    if way == "variable":
        monkeypatch.setenv("EPOCHWATCH_TOKEN", TOKEN)
    run = start(**{"argument": {"token": TOKEN}, "file": {"token_file": token_file}, "variable": {}}[way])
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
        status, body = get(run.url, **headers)
        assert (status, body) == (401, "a bearer token is needed\n")
    status, body = get(run.url, Authorization=f"bearer {TOKEN}")
    assert status == 200
    assert "training_steps_total" in body
    assert TOKEN not in body


def test_the_token_is_never_seen(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """It is in no repr and no log line."""
    with caplog.at_level(logging.DEBUG):
        run = start(token=TOKEN)
        get(run.url, Authorization=f"Bearer {TOKEN}")
    assert TOKEN not in repr(run._books.settings)
    assert TOKEN not in f"{Secret(TOKEN)} {Secret(TOKEN)!r}"
    assert TOKEN not in caplog.text


def test_without_a_token_the_page_is_open(start: Start) -> None:
    """No token asked for, none needed."""
    assert scrape(start()).state() == ["starting"]
