"""Before the first start of PostgreSQL: its password, and where Prometheus finds the bridges.

Part of the compose profile `postgres`. The password is made once and stays as long as its volume; both files may be
read by whoever has that volume, which are PostgreSQL and the bridges.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

DATABASE = Path("/var/lib/alertbridge")
BRIDGES = Path("/bridges/replicas.json")
REPLICAS = ("alertbridge-1:8060", "alertbridge-2:8060")


def main() -> None:
    """Makes what is not there yet."""
    DATABASE.chmod(0o755)
    password_file = DATABASE / "password"
    if not password_file.exists():
        # Letters, digits, - and _: it stands in an address too.
        password_file.write_text(secrets.token_urlsafe(32))
    password = password_file.read_text()
    (DATABASE / "url").write_text(f"postgresql+psycopg://alertbridge:{password}@postgres/alertbridge")
    # Prometheus must not see half a file.
    half = BRIDGES.with_suffix(".tmp")
    half.write_text(json.dumps([{"targets": REPLICAS}]))
    half.rename(BRIDGES)
    sys.stdout.write("the database's password is there, and Prometheus knows the bridges\n")


if __name__ == "__main__":
    main()
