"""A scan with the default backbone touches no network."""

from __future__ import annotations

from pathlib import Path

from labelfix.findings import Findings

CLOTHING = Path(__file__).parent.parent / "examples" / "clothing"

NO_NETWORK = """
import socket, sys
INSIDE = ("socket.connect", "socket.sendto", "socket.bind")
def hook(event, arguments):
    if event.startswith("socket.get") and event != "socket.gethostname":
        raise SystemError(f"asked for an address: {event} {arguments}")
    if event in INSIDE and arguments[0].family != socket.AF_UNIX:
        raise SystemError(f"spoke to the network: {event} {arguments}")
sys.addaudithook(hook)
try:
    socket.create_connection(("127.0.0.1", 9))
except SystemError:
    pass
else:
    sys.exit("the network is not forbidden")
"""
"""Raises in the process and its forks whenever a name is looked up or a socket leaves the machine."""


def test_a_scan_of_images_succeeds_with_every_network_call_forbidden(tmp_path, start):
    lines = (CLOTHING / "manifest.csv").read_text(encoding="utf-8").splitlines()[:61]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    process = start(
        "scan", manifest, "--images", CLOTHING, "-o", out, "--cache", tmp_path / "cache", "--workers", "1",
        before=NO_NETWORK,
    )  # fmt: skip
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (Findings.read(out).column("status") == "scored").all()


def test_a_backbone_from_the_hub_says_what_works_offline(tmp_path, start):
    process = start(
        "scan", CLOTHING / "manifest.csv", "-q", "-o", tmp_path / "run", "--cache", tmp_path / "cache",
        "--backbone", "resnet18", before=NO_NETWORK.replace("SystemError", "OSError"),
        HF_HUB_CACHE=str(tmp_path / "hub"), TORCH_HOME=str(tmp_path / "torch"),
    )  # fmt: skip
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "backbone 'resnet18': weights cannot be fetched" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
