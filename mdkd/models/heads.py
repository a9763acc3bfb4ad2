"""Multi-label heads. A head computes one logit per label from the outputs of a backbone.

Shape key: B images, C labels, D channels, E embedding width, Q queries, G labels per query,
H x W map size, T = H * W tokens.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdkd.errors import UserError


class HeadSettings(Protocol):
    """The settings of a head. All except `kind` are used only by `mldecoder`."""

    @property
    def kind(self) -> str: ...  # "gap" or "mldecoder"
    @property
    def width(self) -> int: ...  # E
    @property
    def queries(self) -> int | None: ...  # Q; None means one per label
    @property
    def heads(self) -> int: ...  # attention heads; the width must be a multiple of it
    @property
    def feedforward(self) -> int: ...  # number of hidden units
    @property
    def dropout(self) -> float: ...  # in [0, 1)
    def embeds_labels(self, num_labels: int) -> bool: ...  # one embedding per label


def build_head(
    settings: HeadSettings, *, map_dim: int, pooled_dim: int, num_labels: int
) -> "GapHead | MLDecoderHead":
    """Build the head `settings.kind` for a last map with `map_dim` channels."""
    if settings.kind == "gap":
        return GapHead(pooled_dim, num_labels)
    if settings.kind == "mldecoder":
        return MLDecoderHead(settings, map_dim, num_labels)
    raise UserError(f"head.kind {settings.kind!r}: choose one of gap, mldecoder")


class GapHead(nn.Module):
    """A linear classifier on the globally pooled map. It has no label embeddings."""

    embedding_dim: int | None = None

    def __init__(self, pooled_dim: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(pooled_dim, num_labels)

    def forward(self, pooled_BD: Tensor, map_BDHW: Tensor) -> tuple[Tensor, None]:
        return self.linear(pooled_BD), None


class MLDecoderHead(nn.Module):
    """ML-Decoder (Ridnik et al., WACV 2023): fixed random queries attend to the pixels of the map.

    It has one decoder layer without self-attention. Each query decodes G = ceil(C / Q) labels with
    its own weights ("group fully-connected pooling"). The last Q * G - C logits are cut off. With
    one query per label, the decoder outputs are the label embeddings that L2D distils.
    """

    queries_QE: Tensor

    def __init__(self, settings: HeadSettings, map_dim: int, num_labels: int) -> None:
        super().__init__()
        width, queries = settings.width, settings.queries
        queries = num_labels if queries is None else queries
        if width % settings.heads:
            raise UserError(
                f"head.width {width}: must be a multiple of head.heads {settings.heads}"
            )
        if not 1 <= queries <= num_labels:
            raise UserError(
                f"head.queries {queries}: must be between 1 and {num_labels}, the number of labels"
            )
        self.num_labels = num_labels
        self.embedding_dim = width if settings.embeds_labels(num_labels) else None
        self.project = nn.Linear(map_dim, width)
        self.register_buffer("queries_QE", torch.randn(queries, width))  # never trained
        self.norm_query = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(
            width, settings.heads, dropout=settings.dropout, batch_first=True
        )
        self.norm_attention = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, settings.feedforward),
            nn.ReLU(inplace=True),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.feedforward, width),
        )
        self.norm_feedforward = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)
        labels_each = -(-num_labels // queries)  # G
        self.weight_QEG = nn.Parameter(torch.empty(queries, width, labels_each))
        self.bias_C = nn.Parameter(torch.zeros(num_labels))
        # Xavier initialisation for the E x G matrix of each query.
        nn.init.normal_(self.weight_QEG, std=math.sqrt(2 / (width + labels_each)))

    def forward(self, pooled_BD: Tensor, map_BDHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, C] and label embeddings [B, C, E]. No embeddings if queries share labels."""
        decoded_BQE = self.decode(map_BDHW)
        logits_BQG = torch.einsum("bqe,qeg->bqg", decoded_BQE, self.weight_QEG)
        logits_BC = logits_BQG.flatten(1)[:, : self.num_labels] + self.bias_C
        return logits_BC, decoded_BQE if self.embedding_dim else None

    def decode(self, map_BDHW: Tensor) -> Tensor:
        """The output of the decoder layer for each query, [B, Q, E]."""
        tokens_BTE = F.relu(self.project(map_BDHW.flatten(2).transpose(1, 2)), inplace=True)
        # Not len(tokens_BTE): an export would write it into the graph as a number.
        query_BQE = self.queries_QE.expand(tokens_BTE.shape[0], -1, -1)
        query_BQE = self.norm_query(query_BQE + self.dropout(query_BQE))
        found_BQE, _ = self.attention(query_BQE, tokens_BTE, tokens_BTE, need_weights=False)
        query_BQE = self.norm_attention(query_BQE + self.dropout(found_BQE))
        return self.norm_feedforward(query_BQE + self.dropout(self.feedforward(query_BQE)))
