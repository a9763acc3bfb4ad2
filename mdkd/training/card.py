"""The model card of an exported network: a page of Markdown beside the weights.

It says what the record of the run knows. What the project cannot know, such as the purpose of the
user, it does not guess.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdkd import registry, score
from mdkd.config import Run, parse
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.store import Entry
from mdkd.training.standalone import Backbone

UNKNOWN = "not known to this program; say here what its owner allows"

CARD = """# {title}

A network for images with several labels: it gives the probability of each of {count} labels.
{origin}

- Network: `{net}` with the head `{head}`; {parameters} M parameters
- Files: the weights have the SHA-256 `{weights}` in the store
- Exported as {form}. With {batches} random images, logits differ by at most {difference:.1g} from
  those of the network that was exported.

## Use

{use}

## Preprocessing

RGB, {size} x {size} pixels without regard to the aspect ratio, bilinear with antialiasing (Pillow).
Then `(pixel / 255 - mean) / std` with mean {mean} and std {std}.
Transparent pixels were put on white. `model.json` has these numbers too.

## Results

{measured} Probabilities of at
least {threshold:g} count as predicted; metrics with another rule are marked.

| Metric | Value | Rule |
|---|---:|---|
{metrics}

## Labels

In the order of the outputs, with the average precision of each on the test images:

| | Label | AP |
|--:|---|---:|
{labels}

## {training}

| | |
|---|---|
{facts}

## Licences

- **This network:** no licence is given yet. Choose one that the following points allow.
- **Data set:** {data_licence}
- **Initial weights:** {initial_licence}
{teacher_licence}"""

# What is said of a network that was trained here, and of one that was only scored.
TRAINED = {
    "title": "{arch} trained on {dataset}",
    "origin": "It was trained by the benchmark `mdkd`, as the run `{run}`.",
    "measured": "Measured on {images} test images that were not trained on, after the last epoch.",
    "training": "Training",
}
SCORED = {
    "title": "{arch} for the labels of {dataset}",
    "origin": (
        "It was trained elsewhere: file `{file}`, SHA-256 {sha256}.\n"
        "The benchmark `mdkd` only scored it on the {images} test images of {dataset}, as the run\n"
        "`{run}`."
    ),
    "measured": (
        "Measured on the {images} test images of {dataset}. Whether these were among its training\n"
        "images is not known."
    ),
    "training": "Scoring",
}

LOAD = """The module `network.py` needs no part of `mdkd`:

```python
from network import FACTS, load, read_image

scores_C = load()(read_image("photo.jpg"))[0].sigmoid()
for name, score in zip(FACTS["labels"], scores_C):
    if score >= FACTS["threshold"]:
        print(f"{{score:.2f}} {{name}}")
```

The backbone alone, without the head:

```python
{imports}
{build}
backbone.load_state_dict({read})
```
"""

ONNX = """```python
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

facts = json.load(open("model.json", encoding="utf-8"))
upright = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGBA")
white = Image.new("RGBA", upright.size, "white")  # behind transparent pixels
rgb = Image.alpha_composite(white, upright).convert("RGB")
pixels = rgb.resize((facts["image_size"],) * 2, Image.Resampling.BILINEAR)
image = (np.asarray(pixels) / 255 - facts["mean"]) / facts["std"]
batch = image.astype(np.float32).transpose(2, 0, 1)[None]  # any number of images
(logits,) = onnxruntime.InferenceSession("model.onnx").run(None, {"image": batch})
for name, score in zip(facts["labels"], 1 / (1 + np.exp(-logits[0]))):
    if score >= facts["threshold"]:
        print(f"{score:.2f} {name}")
```
"""

READ = {
    "state-dict": ("import torch", 'torch.load("backbone.pt", weights_only=True)'),
    "safetensors": (
        "from safetensors.torch import load_file",
        'load_file("backbone.safetensors")',
    ),
}
FORMS = {
    "state-dict": "two state dicts of PyTorch",
    "safetensors": "two files of safetensors",
    "onnx": "ONNX for any number of images",
}


def text(entry: Entry, facts: dict[str, Any], to: str, backbone: Backbone | None) -> str:
    """The card of an exported run.

    Args:
        facts: the content of ``model.json``.
        to: the format, see `FORMS`.
        backbone: None for ONNX.

    Raises:
        UserError: the metrics of the run are missing or damaged.
    """
    record = entry.record()
    run = parse(Run, record["run"], f"{entry.folder}: run")
    found = score.stored(entry)
    precision = found["average_precision"]
    labels = [
        f"| {i} | {_cell(name)} | {_percent(precision.get(name))} |"
        for i, name in enumerate(record["classes"])
    ]
    parameters = record["parameters"]
    teacher = _teacher(entry, run, record)
    known = {
        "arch": run.arch,
        "dataset": run.dataset.name,
        "run": run.path,
        "images": found["test_images"],
        **(asdict(run.checkpoint) if run.checkpoint else {}),
    }
    said = SCORED if run.checkpoint else TRAINED
    return CARD.format(
        **{place: sentence.format(**known) for place, sentence in said.items()},
        count=len(labels),
        net=run.net,
        head=run.head.kind,
        parameters=f"{(parameters['backbone'] + parameters['head']) / 1e6:.2f}",
        weights=record["weights_sha256"],
        form=FORMS[to],
        batches="1 and 7",
        difference=facts["largest_difference"],
        use=ONNX if backbone is None else _load(backbone, to),
        size=facts["image_size"],
        mean=facts["mean"],
        std=facts["std"],
        threshold=facts["threshold"],
        metrics="\n".join(
            f"| {name} | {_percent(value)} | {METRICS[name].note or ''} |"
            for name, value in found["metrics"].items()
            if name in METRICS
        ),
        labels="\n".join(labels),
        facts="\n".join(
            f"| {name} | {_cell(value)} |" for name, value in _facts(run, record, teacher)
        ),
        data_licence=_data_licence(run),
        initial_licence=_initial_licence(run, record),
        teacher_licence=_teacher_licence(run, teacher),
    )


def _load(backbone: Backbone, to: str) -> str:
    own_import, read = READ[to]
    imports = [f"import {backbone.package}"] if backbone.package else []
    if backbone.package is None:
        imports = ["from network import cifar_net"]
    if any("nn." in line for line in backbone.build):
        imports.append("from torch import nn")
    return LOAD.format(
        imports="\n".join([*imports, own_import, ""]), build="\n".join(backbone.build), read=read
    )


def _facts(run: Run, record: dict[str, Any], teacher: Entry | None) -> list[tuple[str, str]]:
    """Names and values of the table of the training, or of the scoring if nothing was trained."""
    environment = record["environment"]
    dropped = [f"{n} {why}" for part in record["dropped"].values() for why, n in part.items() if n]
    rows = [
        ("Data set", f"{run.dataset.name} (source {run.dataset.source}), cache {record['cache']}"),
        ("Images left out", ", ".join(dropped) or "none"),
    ]
    if run.checkpoint is None:
        rows += [
            ("Method", f"{run.method.name}, revision {run.method.revision}"),
            ("Settings", _settings(run.method.settings)),
            ("Recipe", _settings(record["run"]["recipe"])),
            ("Seed", str(run.seed)),
            ("Protocol", run.protocol),
        ]
    if run.teacher:
        rows.append(("Teacher", f"{run.teacher}, weights {record['teacher']}"))
        if teacher:
            map_ = score.stored(teacher)["metrics"]["mAP"]
            rows.append(("Teacher's mAP", _percent(map_)))
    return [
        *rows,
        ("Device", f"{environment['device']}, {environment['cpu']}"),
        ("Code", _code(environment["git_revision"])),
    ]


def _code(revision: str | None) -> str:
    """The commit of the code, in words.

    >>> _code("1f+"), _code(None)
    ('1f, with local changes', 'not known')
    """
    commit = (revision or "not known").removesuffix("+")
    return f"{commit}, with local changes" if revision and revision.endswith("+") else commit


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items()) or "none"


def _teacher(entry: Entry, run: Run, record: dict[str, Any]) -> Entry | None:
    """The entry of the teacher that taught a run, if it lies in the same store."""
    inside = Path(run.path) / entry.folder.name
    if run.teacher is None or run.teacher_key is None or not entry.folder.match(str(inside)):
        return None
    root = entry.folder.parents[len(inside.parts) - 1]
    teacher = Entry(root / run.teacher / run.teacher_key)
    known = teacher.record_if_intact()
    return teacher if known and known["weights_sha256"] == record["teacher"] else None


def _data_licence(run: Run) -> str:
    """What the source of a data set says about the use of its images."""
    try:
        source = registry.load("mdkd.data.sources", run.dataset.source)
    except UserError:  # a source of a package that is not installed here
        return f"{run.dataset.name}: {UNKNOWN}"
    return f"{run.dataset.name}: {getattr(source, 'LICENCE', UNKNOWN)}"


def _initial_licence(run: Run, record: dict[str, Any]) -> str:
    """Where the initial weights come from, and what their licence is as far as it is known."""
    if run.checkpoint:
        return (
            f"all weights are those of the file {run.checkpoint.file}; their licence is {UNKNOWN}"
        )
    initial = record.get("initial_weights")
    if not initial:
        return "random numbers, so nobody else has a right to them"
    origin = f"`{run.net}` from {initial['source']}"
    if run.weights != "imagenet":
        return f"{origin}; their licence is {UNKNOWN}"
    images = "They were trained on ImageNet, whose images are for non-commercial research."
    if run.net.startswith("tv:"):
        return f"{origin}; torchvision gives them no licence of their own. {images}"
    import timm  # slow import

    settings = timm.models.get_pretrained_cfg(run.net)
    licence = settings.license if settings and settings.license else "not given"
    return f"{origin}; licence by timm: {licence}. {images}"


def _teacher_licence(run: Run, teacher: Entry | None) -> str:
    """The same of the teacher; nothing if there is none."""
    if run.teacher is None:
        return ""
    found = "its record was not at hand; look at `initial_weights` there"
    if teacher is not None:
        record = teacher.record()
        taught_by = parse(Run, record["run"], f"{teacher.folder}: run")
        found = _initial_licence(taught_by, record)
    return f"- **Initial weights of the teacher:** {found}\n"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.2f} %"


def _cell(text: str) -> str:
    """A text in a cell of a table of Markdown."""
    return "".join(f"\\{char}" if char in r"\|*_`<[" else char for char in text)
