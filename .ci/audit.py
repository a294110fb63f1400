"""Asks a public service for known vulnerabilities of what an installation brings with it, and says what was asked.

Fails if there is one. Where the service cannot be reached, nothing was audited, and that is said instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement

EXTRAS = ("", "bridge", "postgres")


def installed(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Takes a distribution and its extras, gives the versions here of all that they need, themselves left out."""
    found: dict[str, str] = {}
    ahead = [(name, extras)]
    seen = set()
    while ahead:
        one = ahead.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            here = distribution(one[0])
        except PackageNotFoundError:
            continue
        if one[0] != name:
            found[one[0]] = here.version
        for text in here.requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in one[1]):
                ahead.append((need.name, ("", *sorted(need.extras))))
    return dict(sorted(found.items()))


def main() -> int:
    versions = installed("epochwatch", EXTRAS)
    with TemporaryDirectory() as directory:
        listed = Path(directory) / "requirements.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--progress-spinner=off",
            "--format=json",
            "--timeout=10",
        ]
        done = subprocess.run(
            [*command, "--disable-pip", "--no-deps", "-r", str(listed)],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        audited = [one for one in json.loads(done.stdout)["dependencies"] if "skip_reason" not in one]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stdout.write(f"dependency audit: NOT DONE, the service gave no answer: {reason[:200]}\n")
        return 0
    if not audited:
        sys.stdout.write(
            f"dependency audit: NOT DONE, the service knows none of the {len(versions)} packages\n"
        )
        return 0
    holes = [(one["name"], one["version"], hole) for one in audited for hole in one["vulns"]]
    for name, version, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        sys.stdout.write(f"dependency audit: {name} {version}: {hole['id']}; fixed in {fixed}\n")
    sys.stdout.write(
        f"dependency audit: {len(audited)} of {len(versions)} packages asked, {len(holes)} holes\n"
    )
    return 1 if holes else 0


if __name__ == "__main__":
    raise SystemExit(main())
