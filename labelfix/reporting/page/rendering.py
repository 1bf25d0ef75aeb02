"""Rendering: the template, with every name escaped and nothing allowed that the page does not bring itself."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from labelfix.reporting import words
from labelfix.reporting.page.legible import ending, legible
from labelfix.rundir import writing

STYLES = ("base.css", "head.css", "cards.css", "detail.css", "lists.css")
SCRIPTS = ("start.js", "marks.js", "filters.js", "plot.js", "detail.js", "keys.js")
"""Parts, in the order in which they stand on the page; the scripts share one function."""


def render(**context: Any) -> str:
    """Return the page.

    A Content-Security-Policy with the digest of the page's own script forbids all other scripts, and every request.
    JSON goes through Jinja's `tojson`, which escapes <, >, & and ' so that nothing can end a script element.
    """
    script = '(() => {\n"use strict";\n' + "".join(map(_part, SCRIPTS)) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            style=_style(),
            script=Markup(script),  # noqa: S704 (files of this package)
            digest=digest,
            words=words,
            **context,
        )
    )


def write_refusal(path: Path, why: str) -> None:
    """Write a page that only says why there is no report; raises OutputError."""
    html = _environment().get_template("refusal.html.jinja").render(style=_style(), why=why)
    with writing(path) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))


def _style() -> Markup:
    return Markup("".join(map(_part, STYLES)))  # noqa: S704 (files of this package)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("labelfix.reporting.page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {
        "legible": legible, "ending": ending, "percent": words.percent, "chance": words.chance,
    }  # fmt: skip
    return environment


def _part(name: str) -> str:
    return (files("labelfix.reporting.page") / "templates" / name).read_text(encoding="utf-8")
