"""Recipe: every training choice, so that two equal recipes on equal data give equal bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from labelfix.errors import UsageError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Recipe:
    """Choices that change the result. Where a value is None, the data decide and run.json says what."""

    backbone: str = DEFAULT_BACKBONE
    """Any timm name, `hf-hub:…`, or a local checkpoint `NAME@file.safetensors`."""
    image_size: int | None = None
    """Side of the square the backbone sees, pixels; None: 128 for the default backbone, else its own."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of the backbone; auto is bfloat16 where the processor has it."""
    batch_size: int = 64
    """Images per forward pass; fixed, the last batch is padded, so that bytes do not depend on it."""
    folds: int = 5
    """Heads trained together; a row's fold is a hash of its group or content."""
    epochs: int = 15
    """Passes of the probe over the training rows."""
    checkpoints: int = 10
    """Recorded epochs E."""
    learning_rate: float | None = None
    """Peak of AdamW's cosine schedule, on standardised features; None: by rows per feature, `probe.learning_rate`."""
    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay."""
    probe_batch: int = 512
    """Rows per step of the probe, at most."""
    neighbours: int = 10
    """Nearest labelled neighbours that vote."""
    seed: int = 0
    """Of initialisation, order and sampling."""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto takes a GPU if there is one."""
    workers: int | None = None
    """Decoding processes; None: as many as cores. 0 decodes in this process."""

    def __post_init__(self) -> None:
        for name, low in (
            ("batch_size", 1),
            ("folds", 2),
            ("epochs", 1),
            ("checkpoints", 1),
            ("neighbours", 1),
        ):
            if getattr(self, name) < low:
                raise UsageError(f"recipe: {name} is {getattr(self, name)}, but must be at least {low}")
        if self.image_size is not None and not 16 <= self.image_size <= 2048:
            raise UsageError(f"recipe: image_size is {self.image_size}, but must lie in 16 … 2048")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return asdict(self)
