"""`python -m labelfix`: the command line, for torchrun and for whoever has no script on the path."""

from __future__ import annotations

from labelfix.cli import main

main()
