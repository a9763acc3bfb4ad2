"""The source text of a module that holds one exported network and needs no part of `mdkd`.

The backbone is that of timm or torchvision. A CIFAR-style network brings the text of
`mdkd.models.cifar`. The head is written a second time here, for inference alone; so
`mdkd.training.export` compares every exported module with its network.
"""

import ast
import inspect
from dataclasses import dataclass
from typing import Any

import torch

from mdkd.errors import UserError
from mdkd.models import cifar
from mdkd.models.build import MERGE, Network
from mdkd.models.heads import GapHead

GAP = '''class Head(nn.Module):
    """A linear classifier of the pooled map."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear({width}, {labels})

    def forward(self, pooled_BD, map_BDHW):
        return self.linear(pooled_BD)
'''

MLDECODER = '''class Head(nn.Module):
    """ML-Decoder: fixed queries attend to the pixels of the map; each decodes {each} label(s)."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear({map_dim}, {width})
        self.register_buffer("queries_QE", torch.empty({queries}, {width}))
        self.norm_query, self.norm_attention, self.norm_feedforward = (
            nn.LayerNorm({width}) for _ in range(3)
        )
        self.attention = nn.MultiheadAttention({width}, {heads}, batch_first=True)
        self.feedforward = nn.Sequential(  # the third layer is the dropout of the training
            nn.Linear({width}, {feedforward}),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear({feedforward}, {width}),
        )
        self.weight_QEG = nn.Parameter(torch.empty({queries}, {width}, {each}))
        self.bias_C = nn.Parameter(torch.empty({labels}))

    def forward(self, pooled_BD, map_BDHW):
        tokens_BTE = self.project(map_BDHW.flatten(2).transpose(1, 2)).relu()
        query_BQE = self.norm_query(2 * self.queries_QE).expand(map_BDHW.shape[0], -1, -1)
        found_BQE, _ = self.attention(query_BQE, tokens_BTE, tokens_BTE, need_weights=False)
        query_BQE = self.norm_attention(query_BQE + found_BQE)
        query_BQE = self.norm_feedforward(query_BQE + self.feedforward(query_BQE))
        logits_BQG = torch.einsum("bqe,qeg->bqg", query_BQE, self.weight_QEG)
        return logits_BQG.flatten(1)[:, :{labels}] + self.bias_C
'''

MODULE = '''"""The network of the run {run}.

It needs torch, numpy, Pillow{needs}, and the files beside it. Example:

    from network import FACTS, load, read_image
    scores_C = load()(read_image("photo.jpg"))[0].sigmoid()
    print([name for name, score in zip(FACTS["labels"], scores_C) if score >= FACTS["threshold"]])

Names of tensors end with their axes: B images, 3 colours, S pixels on a side, C labels, D channels,
H x W pixels of a map, T tokens, E width, Q queries, G labels of a query.
"""

import json
{imports}

FOLDER = Path(__file__).parent
FACTS = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))

{code}
{head}

class Network(nn.Module):
    """Normalised images [B, 3, S, S] -> one logit per label [B, C]."""

    def __init__(self):
        super().__init__()
{backbone}
        self.head = Head()

    def forward(self, image_B3SS):
{forward}
        return self.head(pooled_BD, map_BDHW)


def load():
    """The network with its weights, for inference."""
    network = Network()
    for name, part in (("backbone", network.backbone), ("head", network.head)):
        part.load_state_dict({read})
    return network.eval()


def read_image(file):
    """A picture as the network expects it, [1, 3, S, S]."""
    size = (FACTS["image_size"],) * 2
    upright = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    white = Image.new("RGBA", upright.size, "white")  # behind transparent pixels
    rgb = Image.alpha_composite(white, upright).convert("RGB")
    pixels_SS3 = np.asarray(rgb.resize(size, Image.Resampling.BILINEAR)) / 255
    image_SS3 = (pixels_SS3 - FACTS["mean"]) / FACTS["std"]
    return torch.from_numpy(image_SS3).float().permute(2, 0, 1)[None]
'''

READ = {
    "state-dict": 'torch.load(FOLDER / f"{name}.pt", weights_only=True)',
    "safetensors": 'load_file(FOLDER / f"{name}.safetensors")',
}


@dataclass(frozen=True)
class Backbone:
    """How the exported backbone is built: lines of Python."""

    package: str | None  # that it comes from
    build: list[str]  # lines that end with the backbone in the variable `backbone`
    forward: list[str]  # lines from `image_B3SS` to `pooled_BD` and `map_BDHW`, by self.backbone
    code: str = ""  # definitions that come before


def backbone_of(network: Network, net: str, stem: str, image_size: int) -> Backbone:
    """How a merged network's backbone is built without mdkd.

    Raises:
        UserError: it comes from a package that is not known here.
    """
    family, _, name = net.rpartition(":")
    if family == "":
        return _timm(network, name, image_size)
    if family == "tv":
        child = "classifier" if _has_classifier(name) else "fc"
        build = [
            f'backbone = torchvision.models.get_model("{name}")',
            f"backbone.{child} = nn.Identity()",
        ]
        loop = [
            "map_BDHW = image_B3SS",
            "for name, layer in self.backbone.named_children():",
            f'    if name not in ("avgpool", "{child}"):',
            "        map_BDHW = layer(map_BDHW)",
            "pooled_BD = map_BDHW.mean((2, 3))",
        ]
        return Backbone("torchvision", build, loop)
    if family == "cifar":
        forward = ["pooled_BD, maps = self.backbone(image_B3SS)", "map_BDHW = maps[-1]"]
        return Backbone(None, [f'backbone = cifar_net("{name}", "{stem}")'], forward, _cifar())
    raise UserError(f"net {net!r}: its code is not a part of any known package; use --to onnx")


def _timm(network: Network, name: str, image_size: int) -> Backbone:
    import timm  # slow import
    from timm.models.vgg import VGG

    model: Any = network.backbone.model  # timm has no common base class
    settings = timm.models.get_pretrained_cfg(name)
    size = f", img_size={image_size}" if settings and settings.fixed_input_size else ""
    build = [f'backbone = timm.create_model("{name}", num_classes=0{size})']
    if isinstance(model, VGG):
        build.append("backbone.pre_logits = nn.Identity()  # its two hidden layers are not used")
    if any(hasattr(module, MERGE) for module in model.modules()):
        build.append("backbone = timm.models.reparameterize_model(backbone)  # merged branches")
    with torch.no_grad():
        final = model.forward_features(torch.zeros(1, 3, image_size, image_size))
    arranged = "final"
    if final.ndim == 3:  # tokens; the head reads them in any arrangement of H and W
        first = getattr(model, "num_prefix_tokens", 0)
        arranged = f"final[:, {first}:].transpose(1, 2).unsqueeze(3)"
    elif getattr(model, "output_fmt", "NCHW") == "NHWC":
        arranged = "final.permute(0, 3, 1, 2)"
    forward = [
        "final = self.backbone.forward_features(image_B3SS)",
        "pooled_BD = self.backbone.forward_head(final, pre_logits=True)",
        f"map_BDHW = {arranged}",
    ]
    return Backbone("timm", build, forward)


def _has_classifier(name: str) -> bool:
    """Whether torchvision calls the classifier of a network so; others call it fc."""
    import torchvision  # slow import

    with torch.device("meta"):
        return hasattr(torchvision.models.get_model(name), "classifier")


def _cifar() -> str:
    """The text of `mdkd.models.cifar` without its docstring and imports."""
    text = inspect.getsource(cifar)
    body = ast.parse(text).body
    first = next(n for n in body[1:] if not isinstance(n, ast.Import | ast.ImportFrom))
    return "\nUserError = ValueError\n" + "\n".join(text.splitlines()[first.lineno - 1 :]) + "\n\n"


def source(network: Network, backbone: Backbone, run: str, to: str) -> str:
    """The text of the module, for weights in the format ``to``, a key of `READ`."""
    safe, is_cifar = to == "safetensors", bool(backbone.code)
    imports = [
        *(["import re"] if is_cifar else []),
        "from pathlib import Path",
        "",
        "import numpy as np",
        *([f"import {backbone.package}"] if backbone.package == "timm" else []),
        "import torch",
        *([f"import {backbone.package}"] if backbone.package == "torchvision" else []),
        "from PIL import Image, ImageOps",
        *(["from safetensors.torch import load_file"] if safe else []),
        "from torch import Tensor, nn" if is_cifar else "from torch import nn",
        *(["from torch.nn import functional as F"] if is_cifar else []),
    ]
    needs = [backbone.package, "safetensors" if safe else None]
    return MODULE.format(
        run=run,
        needs="".join(f", {name}" for name in needs if name),
        imports="\n".join(imports),
        code=backbone.code,
        head=_head(network),
        backbone=_indented([*backbone.build, "self.backbone = backbone"]),
        forward=_indented(backbone.forward),
        read=READ[to],
    )


def _head(network: Network) -> str:
    head = network.head
    if isinstance(head, GapHead):
        linear = head.linear
        return GAP.format(width=linear.in_features, labels=linear.out_features)
    queries, width, each = head.weight_QEG.shape
    return MLDECODER.format(
        map_dim=head.project.in_features,
        labels=head.num_labels,
        width=width,
        queries=queries,
        each=each,
        heads=head.attention.num_heads,
        feedforward=head.feedforward[0].out_features,
    )


def _indented(lines: list[str]) -> str:
    return "\n".join(" " * 8 + line for line in lines)
