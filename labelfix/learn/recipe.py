"""Recipe: every training choice, so that two equal recipes on equal data give equal bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from labelfix.errors import UsageError

DEFAULT_BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class FineTuning:
    """Choices of fine-tune mode, where a whole timm model is trained on the given labels."""

    model: str | None = None
    """Any timm name, `resnet32`, `hf-hub:…`, or `NAME@file.safetensors`; None: the recipe's backbone."""
    scratch: bool = False
    """Start from random weights; a model that has no trained ones always does."""
    by_fold: bool = False
    """Train a model for each of the recipe's folds, without the fold's rows: the out-of-fold evidence is then the
    model's own, for as many times the work. Else it is that of heads on the backbone's frozen features."""
    epochs: int | None = None
    """Passes over the training rows; None: 10 from trained weights, 40 from scratch."""
    batch_size: int = 64
    """Images per step, at most, of all processes together."""
    optimiser: Literal["adamw", "sgd"] | None = None
    """None: AdamW from trained weights, SGD with Nesterov momentum .9 from scratch (He et al. 2016)."""
    learning_rate: float | None = None
    """Peak; None: 5e-4 for every 256 images of a batch with AdamW, 0.1 for every 128 with SGD."""
    weight_decay: float | None = None
    """Of weights, not of biases and norms; None: .05 with AdamW, 5e-4 with SGD."""
    warm_up: float = 0.05
    """Share of the steps in which the rate rises linearly; then it falls along a cosine to 0."""
    augment: bool = True
    """Crop at random after padding by an eighth of the side, and flip every other image left to right."""
    clip_norm: float | None = 1.0
    """The gradient's norm is cut to this; None: never."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is recorded; None: no average."""

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 100_000),
            "batch_size": (4, 1 << 20),
            "learning_rate": (0.0, 100.0),
            "weight_decay": (0.0, 100.0),
            "warm_up": (0.0, 1.0),
            "clip_norm": (1e-6, 1e6),
            "ema": (0.0, 1.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"recipe: finetune.{name} is {value}, but must lie in {low:,} … {high:,}")
        if self.optimiser not in {None, "adamw", "sgd"}:
            raise UsageError(f"recipe: finetune.optimiser is {self.optimiser!r}, but must be adamw or sgd")


@dataclass(frozen=True)
class Recipe:
    """Choices that change the result. Where a value is None, the data decide and run.json says what."""

    backbone: str = DEFAULT_BACKBONE
    """Any timm name, `hf-hub:…`, or a local checkpoint `NAME@file.safetensors`."""
    image_size: int | None = None
    """Side of the square that models see, pixels; None: 128 for the default backbone, else the model's own."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of models; auto is bfloat16 where the processor has it."""
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
    mode: Literal["probe", "finetune", "auto"] = "probe"
    """Which model's training is watched: heads on frozen features, or a whole model; auto chooses by the features."""
    finetune: FineTuning = field(default_factory=FineTuning)
    """Choices that count where a whole model is trained."""

    def __post_init__(self) -> None:
        if self.mode not in {"probe", "finetune", "auto"}:
            raise UsageError(f"recipe: mode is {self.mode!r}, but must be probe, finetune or auto")
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

    @property
    def trains_heads(self) -> bool:
        """Whether heads on frozen features judge out of fold; else models do that are fine-tuned by fold."""
        return self.mode != "finetune" or not self.finetune.by_fold

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Build the recipe that run.json holds; the number of workers is of no run."""
        return cls(**values | {"finetune": FineTuning(**values["finetune"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return asdict(self)
