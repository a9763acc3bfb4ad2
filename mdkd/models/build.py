"""One name and one head -> one network that keeps the contract of `mdkd.outputs`.

Shape key: B images, C colours of an image, D channels, H x W pixels.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from mdkd.errors import UserError
from mdkd.models.cifar import STEM_STRIDES, cifar_net
from mdkd.models.heads import HeadSettings, build_head
from mdkd.outputs import Output, Spec

# Parameters of the classifier that a weight file was trained with: our heads replace it.
CLASSIFIERS = ("classifier.", "fc.", "head.", "linear.", "pre_logits.")


def build_network(
    net: str,
    *,
    num_labels: int,
    image_size: int,
    stem: str,
    head: HeadSettings,
    weights: str | None = None,
) -> "Network":
    """Build a network for square images of `image_size` pixels.

    `net` is a timm name, `tv:` plus a torchvision name, or `cifar:` plus a name of
    `mdkd.models.cifar`. `stem` (cifar, small or imagenet) concerns the `cifar:` networks alone.
    `weights` is None for random ones, "imagenet", or the path of a state-dict file (.pth, .pt,
    .safetensors).

    Random weights are drawn from the global generator of torch, backbone first.
    """
    pretrained = weights == "imagenet"
    try:
        backbone = _backbone(net, image_size, stem, pretrained)
    except OSError as error:
        raise UserError(f"net {net!r}: cannot fetch its ImageNet weights: {error}") from error
    if weights and not pretrained:
        load_weights(getattr(backbone, "model", backbone), Path(weights))
    try:
        return Network(backbone, num_labels, image_size, head)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"net {net!r} does not work at {image_size} px: {error}") from error


def _backbone(net: str, image_size: int, stem: str, pretrained: bool) -> nn.Module:
    if stem not in STEM_STRIDES:
        raise UserError(f"stem {stem!r}: choose one of {', '.join(STEM_STRIDES)}")
    family, _, name = net.rpartition(":")
    smallest = 4 * STEM_STRIDES[stem] if family == "cifar" else 32  # the stride of the last map
    if image_size < smallest:
        raise UserError(f"net {net!r}: images of {image_size} px are too small, {smallest} needed")
    if family == "cifar":
        if pretrained:
            raise UserError(f"net {net!r}: no public ImageNet weights; use none or a file")
        return cifar_net(name, stem)
    if family == "tv":
        from mdkd.models.adapters import TorchvisionBackbone  # slow import

        return TorchvisionBackbone(name, pretrained)
    if family == "":
        from mdkd.models.adapters import TimmBackbone  # slow import

        return TimmBackbone(name, image_size, pretrained)
    raise UserError(f"net {net!r}: unknown prefix {family!r}; use a timm name, tv: or cifar:")


class Network(nn.Module):
    """A backbone, image [B, 3, H, W] -> (pooled, maps), and the head that reads them.

    `spec` describes the outputs at `image_size`; it is probed from the backbone, never typed in.
    """

    def __init__(
        self, backbone: nn.Module, num_labels: int, image_size: int, head: HeadSettings
    ) -> None:
        super().__init__()
        self.backbone = backbone
        pooled_BD, maps = _probe(backbone, image_size)
        channels = tuple(x_BDHW.shape[1] for x_BDHW in maps)
        self.head = build_head(
            head, map_dim=channels[-1], pooled_dim=pooled_BD.shape[1], num_labels=num_labels
        )
        self.spec = Spec(
            num_labels=num_labels,
            pooled_dim=pooled_BD.shape[1],
            map_channels=channels,
            map_sizes=tuple(x_BDHW.shape[3] for x_BDHW in maps),
            embedding_dim=self.head.embedding_dim,
        )

    def forward(self, image_BCHW: Tensor) -> Output:
        pooled_BD, maps = self.backbone(image_BCHW)
        logits_BC, embeddings_BCE = self.head(pooled_BD, maps[-1])
        return Output(logits_BC, pooled_BD, maps, embeddings_BCE)


@torch.no_grad()
def _probe(backbone: nn.Module, image_size: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One forward pass in eval mode: it moves no batch statistics and draws no random number."""
    backbone.eval()
    device = next(backbone.parameters()).device
    outputs = backbone(torch.zeros(1, 3, image_size, image_size, device=device))
    backbone.train()
    return outputs


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a state-dict file; its classifier is skipped, float16 becomes float32."""
    if not path.is_file():
        raise UserError(f"weights {str(path)!r}: no such file; give a path or imagenet")
    try:
        state = _read_state(path)
    except Exception as error:  # every format has its own
        raise UserError(f"weights {str(path)!r}: not a readable state dict") from error
    own = model.state_dict()
    problems = {
        "lacks": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "has unknown": [k for k in state if k not in own and not k.startswith(CLASSIFIERS)],
        "has other sizes of": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    for problem, keys in problems.items():
        if keys:
            names = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            raise UserError(f"weights {str(path)!r} {problem} {len(keys)} tensors: {names}")
    model.load_state_dict(state, strict=False)  # copies into the network's own float type


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
