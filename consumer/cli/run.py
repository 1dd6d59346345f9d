"""Command ``run``: the service itself."""

from __future__ import annotations

from consumer.cli.options import Config, read_settings

__all__ = ["run"]


def run(config: Config = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    Example: cadence-consumer run --config cadence.toml
    """
    settings = read_settings(config, connects=True)
    from consumer.app import serve
    from consumer.process import run_service

    raise SystemExit(run_service(serve(settings)))
