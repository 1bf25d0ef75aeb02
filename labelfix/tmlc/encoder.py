"""TSE, trajectory state encoder: an LSTM over relative time, shared by all candidate classes (Li 2025, §3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from labelfix.tmlc.perception import CHANNELS


class TrajectoryEncoder(nn.Module):
    """Reads [n, C, STEPS, 2 × CHANNELS] and returns the last hidden state [n, C, hidden]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.lstm = nn.LSTM(2 * CHANNELS, hidden, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        """Only the final state is decoded, as in the paper."""
        n, C, steps, channels = sequence.shape
        _, (state, _) = self.lstm(sequence.reshape(n * C, steps, channels))
        return state[0].view(n, C, self.hidden)  # type: ignore[no-any-return]  # torch.nn is loosely typed
