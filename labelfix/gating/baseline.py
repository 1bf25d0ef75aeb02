"""Baseline: findings that are known already, and waivers; a JSON file to commit beside the policy.

A finding is named by id, content hash and given label, so that a changed image or label is new. A waiver says that
somebody looked and the label is right: such a row counts as confirmed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from labelfix.errors import InputError, UsageError, nearest
from labelfix.gating.verdict import Finding
from labelfix.rundir import writing

SCHEMA = 1
"""Version of the file; a newer one is refused."""


@dataclass(frozen=True, order=True)
class Fingerprint:
    """What names a finding."""

    id: str
    """As in the manifest; with annotators, id and annotator."""
    content: str
    """Hash of the content, hexadecimal; "" where it is not known."""
    label: str
    """As given."""

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Name a finding."""
        return cls(finding.id, finding.content, finding.label)


@dataclass(frozen=True, order=True)
class Waiver:
    """A row that somebody has confirmed."""

    fingerprint: Fingerprint
    """Which."""
    reason: str
    """Why the label stays."""
    until: date
    """The last day on which it holds."""


@dataclass(frozen=True)
class Baseline:
    """What is known already."""

    path: str
    """The file."""
    findings: frozenset[Fingerprint] = frozenset()
    """Known findings."""
    waivers: tuple[Waiver, ...] = ()
    """Confirmed rows."""

    def waived(self, today: date) -> dict[Fingerprint, Waiver]:
        """Return the waivers that hold."""
        return {waiver.fingerprint: waiver for waiver in self.waivers if waiver.until >= today}

    def updated(self, findings: Iterable[Finding], today: date) -> Baseline:
        """Return a baseline of these findings; waivers stay, and what they cover is not listed twice."""
        held = self.waived(today)
        named = (Fingerprint.of(finding) for finding in findings)
        return Baseline(self.path, frozenset(one for one in named if one not in held), self.waivers)

    def write(self) -> None:
        """Write the file, sorted, so that a diff shows what changed."""
        waivers = [
            {**asdict(w.fingerprint), "reason": w.reason, "until": w.until.isoformat()}
            for w in sorted(self.waivers)
        ]
        document = {
            "labelfix_baseline": SCHEMA,
            "findings": [asdict(one) for one in sorted(self.findings)],
            "waivers": waivers,
        }
        with writing(Path(self.path)) as temporary:
            temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read the file; raises UsageError that names the entry, InputError where it cannot be read."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such baseline; make one with --update-baseline") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the baseline cannot be read ({error})") from error
        except ValueError as error:
            raise UsageError(
                f"{path}: is no JSON ({error}); mend it, or delete it and make it anew with --update-baseline"
            ) from error
        if not isinstance(found, dict) or "labelfix_baseline" not in found:
            raise UsageError(f"{path}: is no baseline of labelfix; make one with --update-baseline")
        if (schema := found["labelfix_baseline"]) is True or schema != SCHEMA:
            raise UsageError(
                f"{path}: is a baseline of another labelfix ({schema!r}, this one reads {SCHEMA})"
            )
        for key in found:
            if key not in (known := ("labelfix_baseline", "findings", "waivers")):
                raise UsageError(f"{path}: unknown key {key!r}; {nearest(key, known)}")
        findings = frozenset(
            _fingerprint(entry, f"{path}: findings[{i}]")
            for i, entry in enumerate(_list(found, "findings", path))
        )
        waivers = tuple(
            _waiver(entry, f"{path}: waivers[{i}]") for i, entry in enumerate(_list(found, "waivers", path))
        )
        return cls(str(path), findings, waivers)


def _list(found: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    entries = found.get(name, [])
    if not isinstance(entries, list):
        raise UsageError(f"{path}: {name} must be a list")
    return entries


def _fingerprint(entry: Any, where: str, more: tuple[str, ...] = ()) -> Fingerprint:
    wanted = ("id", "content", "label")
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in wanted):
        raise UsageError(f"{where} must have the texts id, content and label")
    for name in entry:
        if name not in wanted + more:
            raise UsageError(f"{where} has the unknown key {name!r}; {nearest(name, wanted + more)}")
    return Fingerprint(*(entry[name] for name in wanted))


def _waiver(entry: Any, where: str) -> Waiver:
    fingerprint = _fingerprint(entry, where, ("reason", "until"))
    reason, until = entry.get("reason"), entry.get("until")
    if not isinstance(reason, str) or not reason.strip():
        raise UsageError(f"{where} ({fingerprint.id}) has no reason; say why the label stays")
    try:
        return Waiver(fingerprint, reason, date.fromisoformat(until))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{where} ({fingerprint.id}): until is {until!r}, but must be a date like 2026-12-31"
        ) from error
