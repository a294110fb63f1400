"""Where the command `alertbridge` begins: says what is missing if only the training side is installed."""

from __future__ import annotations


def main() -> None:
    """Runs the command.

    Raises:
        SystemExit: with the command's exit code; or with what to install.
    """
    try:
        from alertbridge.commands import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("alertbridge"):
            raise
        package = error.name.partition(".")[0]
        raise SystemExit(
            f"alertbridge: the package {package} is not installed; the bridge needs more than the training side: "
            "pip install 'epochwatch[bridge]'"
        ) from None
    run()
