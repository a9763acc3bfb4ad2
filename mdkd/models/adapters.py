"""Backbones of timm and torchvision with one common interface: image -> (pooled vector, maps).

Both return one map per resolution, namely the deepest one. Maps larger than a quarter of the image
size (the stem's maps) are left out; the ReviewKD paper's five-level setting starts there too.

Importing timm and torchvision takes seconds. No other module of this package imports them, except
`mdkd.models.table`.

Shape key: B images, 3 colours, D channels, H x W pixels.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.models.vgg import VGG
from torch import Tensor, nn
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3, regnet, resnet, shufflenetv2
from torchvision.models import vgg as torchvision_vgg

from mdkd.errors import UserError
from mdkd.models.weights import load, read_state

FIRST_STRIDE = 4
TORCHVISION_TAG = "IMAGENET1K_V1"

# torchvision families whose forward pass runs the child modules in order, up to the pooling.
SEQUENTIAL = (
    efficientnet.EfficientNet,
    mobilenetv2.MobileNetV2,
    mobilenetv3.MobileNetV3,
    regnet.RegNet,
    resnet.ResNet,
    shufflenetv2.ShuffleNetV2,
    torchvision_vgg.VGG,
)
CONTAINERS = ("features", "trunk_output")  # child modules that contain the layers of a network
AFTER_LAYERS = ("avgpool", "classifier", "fc")


class TimmBackbone(nn.Module):
    """A timm network without its classifier. It must have timm's method `forward_intermediates`.

    If `imagenet` is true, ImageNet weights are loaded from `file` (in any layout that timm reads)
    or, without a file, from timm's hub.
    """

    model: Any  # timm has no common base class with the attributes used here

    def __init__(
        self, name: str, image_size: int, imagenet: bool = False, file: Path | None = None
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise _unknown(name, timm.list_models())
        if imagenet and not timm.models.is_model_pretrained(name):
            raise UserError(
                f"net {name!r}: timm has no pretrained weights; set weights to null or a file"
            )
        if file:
            load(file)  # timm reads it again; this makes sure that it is readable and runs no code
        try:
            settings = timm.models.get_pretrained_cfg(name)
            fixed_size = settings is not None and settings.fixed_input_size
            options: dict[str, Any] = {"img_size": image_size} if fixed_size else {}
            if imagenet:  # build the classifier too, because timm expects it in a weight file
                options["pretrained"] = True
                options["pretrained_cfg_overlay"] = {"file": str(file)} if file else None
            else:
                options["num_classes"] = 0
            self.model = timm.create_model(name, **options)
            if imagenet:
                self.model.reset_classifier(0)
        except (RuntimeError, AssertionError) as error:  # for example an unknown tag or a bad size
            what = f"{file}: not the weights of {name!r}" if file else f"net {name!r}"
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{what} at {image_size} px: {reason}") from error
        if not hasattr(self.model, "forward_intermediates"):
            raise UserError(
                f"net {name!r}: timm cannot return its intermediate maps; use another network"
            )
        if isinstance(self.model, VGG):
            # Remove VGG's two hidden layers of 4,096 units (120 M parameters). No other backbone
            # has such layers after its last map, and a head that reads the map does not use them.
            self.model.pre_logits = nn.Identity()  # type: ignore[assignment]

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        final, maps = self.model.forward_intermediates(image_B3HW)
        pooled_BD = self.model.forward_head(final, pre_logits=True)
        if final.ndim == 3:  # a transformer's tokens [B, T, D], with the class tokens first
            tokens_BDT = final[:, self.model.num_prefix_tokens :].transpose(1, 2)
            final = tokens_BDT.unflatten(2, maps[-1].shape[2:])
        elif getattr(self.model, "output_fmt", "NCHW") == "NHWC":  # for example Swin
            final = final.permute(0, 3, 1, 2)
        return pooled_BD, _deepest([*maps, final], image_B3HW)


class TorchvisionBackbone(nn.Module):
    """A torchvision network of a family in `SEQUENTIAL`, without its classifier.

    If `imagenet` is true, ImageNet weights are loaded from `file` or, without a file, from
    torchvision's server.
    """

    def __init__(self, name: str, imagenet: bool = False, file: Path | None = None) -> None:
        super().__init__()
        known = torchvision.models.list_models(torchvision.models)
        if name not in known:
            raise _unknown(name, known, prefix="tv:")
        tags = torchvision.models.get_model_weights(name).__members__
        if imagenet and not file and TORCHVISION_TAG not in tags:
            raise UserError(
                f"net 'tv:{name}': torchvision has no weights {TORCHVISION_TAG}; "
                "set weights to null or a file"
            )
        self.model = torchvision.models.get_model(
            name, weights=TORCHVISION_TAG if imagenet and not file else None
        )
        if not isinstance(self.model, SEQUENTIAL):
            families = ", ".join(family.__name__ for family in SEQUENTIAL)
            raise UserError(
                f"net 'tv:{name}': only these families are supported: {families}; "
                "try timm's name, without 'tv:'"
            )
        if file:
            try:
                self.model.load_state_dict(read_state(file))
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                raise UserError(f"{file}: not the weights of 'tv:{name}': {reason}") from error
        for child in ("classifier", "fc"):
            if hasattr(self.model, child):
                delattr(self.model, child)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x_BDHW, maps = image_B3HW, []
        for layer in self._layers():
            x_BDHW = layer(x_BDHW)
            maps.append(x_BDHW)
        return x_BDHW.mean(dim=(2, 3)), _deepest(maps, image_B3HW)

    def _layers(self) -> Iterable[nn.Module]:
        for name, child in self.model.named_children():
            if name in CONTAINERS:
                yield from child
            elif name not in AFTER_LAYERS:
                yield child


def hub(net: str) -> str:
    """The URL for downloading the ImageNet weights of a timm or `tv:` network."""
    if net.startswith("tv:"):
        return torchvision.models.get_model_weights(net[3:])[TORCHVISION_TAG].url
    settings: Any = timm.models.get_pretrained_cfg(net)
    return f"https://huggingface.co/{settings.hf_hub_id}" if settings.hf_hub_id else settings.url


def _deepest(maps: list[Tensor], image_B3HW: Tensor) -> tuple[Tensor, ...]:
    """The last map of each resolution, for widths up to a quarter of the image (rounded up)."""
    largest = -(-image_B3HW.shape[3] // FIRST_STRIDE)
    return tuple({x.shape[3]: x for x in maps if x.shape[3] <= largest}.values())


def _unknown(name: str, known: list[str], prefix: str = "") -> UserError:
    close = get_close_matches(name.partition(".")[0], known, n=3) or ["none"]
    return UserError(f"net {prefix + name!r}: unknown; close names: {', '.join(close)}")
