"""`labelfix plugins`."""

from __future__ import annotations

import click


@click.command()
def plugins() -> None:
    """List what is installed of readers, correctors, exporters and servers.

    \b
    Example:
      labelfix plugins
    """
    from labelfix.plugins import names

    for kind in ("readers", "correctors", "exporters", "servers"):
        found = names(kind)
        if found:
            click.echo(f"{kind}:")
        for name, point in found.items():
            package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.module
            click.echo(f"  {name:<20} {package}")
