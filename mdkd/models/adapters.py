"""Backbones of timm and torchvision, brought to one form: image -> (pooled vector, maps).

Both return one map for each resolution, the deepest there, from a quarter of the image size (the
stem's maps are left out: five-level ReviewKD starts there too) down to the final map.
timm and torchvision take seconds to import: nothing else in this package imports them.

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
from mdkd.models.weights import read_state

FIRST_STRIDE = 4
TORCHVISION_TAG = "IMAGENET1K_V1"

# The families of torchvision whose forward pass runs the child modules in order, up to the pooling.
SEQUENTIAL = (
    efficientnet.EfficientNet,
    mobilenetv2.MobileNetV2,
    mobilenetv3.MobileNetV3,
    regnet.RegNet,
    resnet.ResNet,
    shufflenetv2.ShuffleNetV2,
    torchvision_vgg.VGG,
)
CONTAINERS = ("features", "trunk_output")  # child modules that hold the layers of a network
AFTER_LAYERS = ("avgpool", "classifier", "fc")


class TimmBackbone(nn.Module):
    """Any network of timm that offers `forward_intermediates`, without its classifier.

    With `imagenet`, its weights come from `file`, in any layout that timm reads, or from its hub.
    """

    model: Any  # timm's networks share no base class that declares what is used here

    def __init__(
        self, name: str, image_size: int, imagenet: bool = False, file: Path | None = None
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise _unknown(name, timm.list_models())
        if imagenet and not timm.models.is_model_pretrained(name):
            raise UserError(f"net {name!r}: timm has no pretrained weights; use none or a file")
        try:
            settings = timm.models.get_pretrained_cfg(name)
            fixed_size = settings is not None and settings.fixed_input_size
            options: dict[str, Any] = {"img_size": image_size} if fixed_size else {}
            if imagenet:  # the whole network, for timm checks a file only against all of it
                options["pretrained"] = True
                options["pretrained_cfg_overlay"] = {"file": str(file)} if file else None
            else:
                options["num_classes"] = 0
            self.model = timm.create_model(name, **options)
            if imagenet:
                self.model.reset_classifier(0)
        except (RuntimeError, AssertionError) as error:  # an unknown tag, an impossible size
            what = f"{file}: not the weights of {name!r}" if file else f"net {name!r}"
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{what} at {image_size} px: {reason}") from error
        if not hasattr(self.model, "forward_intermediates"):
            raise UserError(f"net {name!r}: timm does not offer its intermediate maps")
        if isinstance(self.model, VGG):
            # Two hidden layers of 4,096 units: 120 M parameters that no other backbone has after
            # its last map, and that a label-wise head would never read.
            self.model.pre_logits = nn.Identity()  # type: ignore[assignment]

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        final, maps = self.model.forward_intermediates(image_B3HW)
        pooled_BD = self.model.forward_head(final, pre_logits=True)
        if final.ndim == 3:  # tokens [B, T, D] of one resolution, class tokens first
            tokens_BDT = final[:, self.model.num_prefix_tokens :].transpose(1, 2)
            final = tokens_BDT.unflatten(2, maps[-1].shape[2:])
        elif getattr(self.model, "output_fmt", "NCHW") == "NHWC":  # Swin's final map stays so
            final = final.permute(0, 3, 1, 2)
        return pooled_BD, _deepest([*maps, final], image_B3HW)


class TorchvisionBackbone(nn.Module):
    """A network of torchvision out of the families in `SEQUENTIAL`, without its classifier.

    With `imagenet`, its weights come from `file` or from torchvision's server.
    """

    def __init__(self, name: str, imagenet: bool = False, file: Path | None = None) -> None:
        super().__init__()
        known = torchvision.models.list_models(torchvision.models)
        if name not in known:
            raise _unknown(name, known, prefix="tv:")
        self.model = torchvision.models.get_model(
            name, weights=TORCHVISION_TAG if imagenet and not file else None
        )
        if not isinstance(self.model, SEQUENTIAL):
            families = ", ".join(family.__name__ for family in SEQUENTIAL)
            raise UserError(f"net 'tv:{name}': only {families} are supported; try timm's name")
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
    """Where the ImageNet weights of a timm or `tv:` network can be fetched."""
    if net.startswith("tv:"):
        return torchvision.models.get_model_weights(net[3:])[TORCHVISION_TAG].url
    settings: Any = timm.models.get_pretrained_cfg(net)
    return f"https://huggingface.co/{settings.hf_hub_id}" if settings.hf_hub_id else settings.url


def _deepest(maps: list[Tensor], image_B3HW: Tensor) -> tuple[Tensor, ...]:
    """The last map of each resolution, from a quarter of the image (rounded up) downwards."""
    largest = -(-image_B3HW.shape[3] // FIRST_STRIDE)
    return tuple({x.shape[3]: x for x in maps if x.shape[3] <= largest}.values())


def _unknown(name: str, known: list[str], prefix: str = "") -> UserError:
    close = get_close_matches(name.partition(".")[0], known, n=3) or ["none"]
    return UserError(f"net {prefix + name!r}: unknown; close names: {', '.join(close)}")
