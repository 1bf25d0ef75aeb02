"""The whole net, its weights file with the model card inside, and scoring in batches."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from labelfix.errors import InputError
from labelfix.evidence import EvidenceChunk
from labelfix.rundir import writing
from labelfix.tmlc.decoder import SubclassDecoder
from labelfix.tmlc.encoder import TrajectoryEncoder
from labelfix.tmlc.perception import WIDTH, Norms, perceive

FORMAT = 3
"""Version of the weights: perception's numbers, their order, and the layers."""
BATCH = 512
"""Rows a forward pass, few enough for the processor's cache; fixed, so that results do not depend on how rows are
chunked beyond it."""


class TMLCNet(nn.Module):
    """(sequence [n, C, STEPS, 16], summary [n, C, WIDTH]) → log q [n, C + 1]; about 39 thousand weights."""

    def __init__(self, encoder_hidden: int = 32, decoder_hidden: int = 64) -> None:
        super().__init__()
        self.settings = {"encoder_hidden": encoder_hidden, "decoder_hidden": decoder_hidden}
        self.encoder = TrajectoryEncoder(encoder_hidden)
        self.decoder = SubclassDecoder(WIDTH + encoder_hidden, decoder_hidden)

    def forward(self, sequence: Tensor, static: Tensor, others: bool) -> Tensor:
        """Return log-probabilities of each candidate and of "another class"."""
        return self.decoder(torch.cat([static, self.encoder(sequence)], dim=2), others)  # type: ignore[no-any-return]

    def posterior(self, rows: EvidenceChunk, norms: Norms) -> NDArray[np.float32]:
        """Return log q [n, C + 1] of evidence, in batches."""
        n, C = rows.candidates.shape
        others = rows.classes > C
        log_q = np.empty((n, C + 1), np.float32)
        with torch.inference_mode():
            for start in range(0, n, BATCH):
                at = slice(start, start + BATCH)
                perceived = perceive(rows.take(np.arange(n)[at]), norms)
                log_q[at] = self(*map(torch.from_numpy, perceived), others).numpy()
        return log_q


def save_net(net: TMLCNet, card: dict[str, Any], path: Path) -> None:
    """Write weights and model card (sources, noise, seed, command, time, scores) as safetensors."""
    header = {
        "format": str(FORMAT),
        "settings": json.dumps(net.settings),
        "card": json.dumps(card, sort_keys=True),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with writing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=header))


def load_net(path: Path | None = None) -> tuple[TMLCNet, dict[str, Any]]:
    """Return a net in evaluation mode and its model card; None loads the shipped weights.

    Raises InputError when the file is damaged or of another format.
    """
    return _load(path or Path(str(files("labelfix.tmlc") / "weights" / "tmlc.safetensors")))


@cache
def _load(path: Path) -> tuple[TMLCNet, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: the TMLC weights cannot be read ({error}); make them with `labelfix meta-train`"
        ) from error
    if header.get("format") != str(FORMAT):
        raise InputError(
            f"{path}: TMLC weights of format {header.get('format')}, but this labelfix reads {FORMAT}"
        )
    net = TMLCNet(**json.loads(header["settings"]))
    net.load_state_dict(tensors)
    return net.eval(), json.loads(header["card"])
