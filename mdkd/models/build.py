"""Build a network from a backbone name and head settings; its outputs follow `mdkd.outputs`.

Shape key: B images, C colours of an image, D channels, H x W pixels.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from mdkd.errors import UserError
from mdkd.models.cifar import STEM_STRIDES, cifar_net
from mdkd.models.heads import HeadSettings, build_head
from mdkd.models.own import PREFIX, own_backbone
from mdkd.models.weights import digest, load_file
from mdkd.outputs import Output, Spec
from mdkd.weightfiles import CHECKSUMS, local_file, local_name

WEIGHTS_FOLDER = Path("weights")
MERGE = "reparameterize"  # timm's method that merges the parallel branches of a block


def build_network(
    net: str,
    *,
    num_labels: int,
    image_size: int,
    stem: str,
    head: HeadSettings,
    weights: str | None = None,
    weights_folder: Path = WEIGHTS_FOLDER,
) -> "Network":
    """Build a network for square images of `image_size` pixels.

    Args:
        net: a timm name, `tv:` plus a torchvision name, `cifar:` plus a name of
            `mdkd.models.cifar`, or `module:` plus a function of one's own (`mdkd.models.own`).
        stem: cifar, small or imagenet; used only by `cifar:` networks.
        weights: None for random weights, the path of a state-dict file (.pth, .pt, .safetensors),
            or "imagenet". ImageNet weights are loaded from a file in `weights_folder` or, without
            such a file, from the network's hub.

    Random weights are drawn from torch's global generator, first for the backbone.
    """
    imagenet = weights == "imagenet"
    file = local_file(net, weights_folder) if imagenet else None
    try:
        backbone = _backbone(net, image_size, stem, imagenet, file)
    except OSError as error:
        place = weights_folder / f"{local_name(net)}.safetensors (or .pth)"
        raise UserError(
            f"net {net!r}: no ImageNet weights in {str(weights_folder)!r}, and the download failed "
            f"({' '.join(str(error).split())[:200]}); save the file from {_hub(net)} as {place}, "
            f"and add the output of `sha256sum` for it to {CHECKSUMS} in that folder"
        ) from error
    model = getattr(backbone, "model", backbone)
    if weights and not imagenet:
        load_file(model, Path(weights))
    try:
        network = Network(backbone, num_labels, image_size, head)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"net {net!r} does not work at {image_size} px: {error}") from error
    if weights:
        source = str(file or _hub(net)) if imagenet else weights
        network.initial_weights = {"source": source, "tensors_sha256": digest(model)}
    return network


def _backbone(net: str, image_size: int, stem: str, imagenet: bool, file: Path | None) -> nn.Module:
    if stem not in STEM_STRIDES:
        raise UserError(f"stem {stem!r}: choose one of {', '.join(STEM_STRIDES)}")
    if net.startswith(PREFIX):
        if imagenet:
            raise UserError(f"net {net!r}: no ImageNet weights; set weights to null or a file")
        return own_backbone(net, image_size)
    family, _, name = net.rpartition(":")
    smallest = 4 * STEM_STRIDES[stem] if family == "cifar" else 32  # the stride of the last map
    if image_size < smallest:
        raise UserError(
            f"net {net!r}: images of {image_size} px are too small, {smallest} needed; "
            "raise image_size"
        )
    if family == "cifar":
        if imagenet:
            raise UserError(
                f"net {net!r}: no public ImageNet weights; set weights to null or a file"
            )
        return cifar_net(name, stem)
    if family == "tv":
        from mdkd.models.adapters import TorchvisionBackbone  # slow import

        return TorchvisionBackbone(name, imagenet, file)
    if family == "":
        from mdkd.models.adapters import TimmBackbone  # slow import

        return TimmBackbone(name, image_size, imagenet, file)
    raise UserError(
        f"net {net!r}: unknown prefix {family!r}; use a timm name, tv:, cifar: or module:"
    )


def _hub(net: str) -> str:
    from mdkd.models.adapters import hub  # slow import

    return hub(net)


class Network(nn.Module):
    """A backbone, image [B, 3, H, W] -> (pooled, maps), and a head on its outputs.

    `spec` describes the outputs at `image_size`. It is measured with one forward pass of the
    backbone, so no size is written by hand.
    """

    def __init__(
        self, backbone: nn.Module, num_labels: int, image_size: int, head: HeadSettings
    ) -> None:
        super().__init__()
        self.backbone, self.image_size = backbone, image_size
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
        self.initial_weights: dict[str, str] | None = None  # their source and SHA-256; None: random

    def forward(self, image_BCHW: Tensor) -> Output:
        pooled_BD, maps = self.backbone(image_BCHW)
        logits_BC, embeddings_BCE = self.head(pooled_BD, maps[-1])
        return Output(logits_BC, pooled_BD, maps, embeddings_BCE)


@torch.no_grad()
def _probe(backbone: nn.Module, image_size: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The backbone's outputs for one black image.

    The pass runs in eval mode: it changes no batch statistics and uses no random numbers.
    """
    backbone.eval()
    device = next(backbone.parameters()).device
    outputs = backbone(torch.zeros(1, 3, image_size, image_size, device=device))
    backbone.train()
    return outputs


def merged(network: Network) -> Network:
    """The network for inference, in eval mode.

    The parallel branches of a RepVGG block are merged into one convolution, in a copy of the
    network. The outputs stay the same. A network without such branches is returned unchanged.
    """
    network.eval()
    if not any(hasattr(module, MERGE) for module in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        getattr(module, MERGE, lambda: None)()
    return network
