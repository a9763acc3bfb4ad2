"""A first look at a data set: how often labels occur, and which labels occur together."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt

from mdkd import codependence, records
from mdkd.data.cache import SPLITS, Cache, CachedSplit
from mdkd.reporting import escapes, plots

STRONGEST = 25  # pairs that the Markdown page lists


def write(cache: Cache, name: str, results: Path) -> None:
    """Write ``tables/labels_{name}.csv .md``, ``tables/pairs_{name}.csv`` and the figure."""
    label_frame, pair_frame = label_table(cache), pair_table(cache)
    page = _page(cache, name, label_frame, pair_frame)
    for file, text in (
        (f"labels_{name}.csv", label_frame.to_csv(index=False, lineterminator="\n")),
        (f"pairs_{name}.csv", pair_frame.to_csv(index=False, lineterminator="\n")),
        (f"labels_{name}.md", page),
    ):
        with records.atomic(results / "tables" / file) as out:
            out.write(text.encode(errors="backslashreplace"))
    _figure(cache, results / "figures", f"labels_{name}")


def _splits(cache: Cache) -> dict[str, CachedSplit]:
    """The splits, training images first."""
    return {split: cache.splits[split] for split in SPLITS if split in cache.splits}


def label_table(cache: Cache) -> pd.DataFrame:
    """One row per label: images in each split, share of the training images, in [0, 1]."""
    frame = pd.DataFrame({"label": cache.classes})
    for split, content in _splits(cache).items():
        frame[f"{split}_images"] = content.targets_NC.sum(axis=0, dtype=np.int64)
    frame["train_share"] = cache.splits["train"].targets_NC.mean(axis=0).round(6)
    return frame


def pair_table(cache: Cache) -> pd.DataFrame:
    """One row per pair of labels that share a training image, the strongest dependency first.

    ``phi`` is the correlation coefficient. ``direct_nats`` is the minimum over m of I(a; b | m):
    the dependency that remains when the best single mediator is known.
    """
    joint_CCC = codependence.counted_joint(cache.splits["train"].targets_NC)
    pair_CC, phi_CC = codependence.pairs(joint_CCC), codependence.phi(joint_CCC)
    direct_CC, p_C = codependence.direct_dependence(joint_CCC), codependence.marginals(joint_CCC)
    first_P, second_P = np.nonzero(np.triu(pair_CC, 1))
    pair_P = pair_CC[first_P, second_P]
    names = np.array(cache.classes)
    frame = pd.DataFrame(
        {
            "a": names[first_P],
            "b": names[second_P],
            "images": np.rint(pair_P * len(cache.splits["train"].ids)).astype(int),
            "p_b_given_a": pair_P / p_C[first_P],
            "p_a_given_b": pair_P / p_C[second_P],
            "phi": phi_CC[first_P, second_P],
            "direct_nats": direct_CC[first_P, second_P],
        }
    )
    return frame.round(6).sort_values(["direct_nats", "a", "b"], ascending=[False, True, True])


def _page(cache: Cache, name: str, label_frame: pd.DataFrame, pair_frame: pd.DataFrame) -> str:
    lines = [f"**Labels of {name}**", "", "| split | images | labels per image | 0 | 1 | 2 | 3+ |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for split, content in _splits(cache).items():
        per_image_N = content.targets_NC.sum(axis=1)
        shares = [float((per_image_N == k).mean()) for k in range(3)]
        shares.append(float((per_image_N >= 3).mean()))
        texts = " | ".join(f"{100 * share:.1f} %" for share in shares)
        lines.append(f"| {split} | {len(content.ids)} | {per_image_N.mean():.2f} | {texts} |")
    lines += ["", _table(label_frame)]
    lines += ["", f"The {STRONGEST} pairs with the strongest direct dependency:", ""]
    lines += [_table(pair_frame.head(STRONGEST)), ""]
    lines += [f"- {escapes.markdown(note)}" for note in _notes(cache)]
    return "\n".join(lines) + "\n"


def _notes(cache: Cache) -> list[str]:
    """What the columns mean, and how far counts can be trusted."""
    images = len(cache.splits["train"].ids)
    return [
        "0, 1, 2, 3+: the share of the images of a split that have so many labels. train_share: "
        "the share of the training images that have the label.",
        "Pairs are counted in the training images. images: those with both labels. p_b_given_a: "
        "the share of the images with label a that have label b too. phi: the correlation of the "
        "two labels, from −1 to 1.",
        "direct_nats: what label a tells about label b if one other label is known already: the "
        "smallest conditional mutual information I(a; b | m) over all other labels m, in nats.",
        "Mutual information that is counted in N images is too high on average: I(a; b | m) by "
        f"about 1 / N, here {1 / images:.2g} nats. Labels that do not depend on each other at all "
        "have values of this size too.",
    ]


def _table(frame: pd.DataFrame) -> str:
    names = [name for name in ("label", "a", "b") if name in frame]
    text = {name: frame[name].map(escapes.markdown) for name in names}
    # A label may look like a number. Without a row there is no label, and the option is an error.
    as_text = [frame.columns.get_loc(name) for name in names] if len(frame) else False
    return frame.assign(**text).to_markdown(index=False, disable_numparse=as_text)


def _figure(cache: Cache, folder: Path, name: str) -> None:
    """Labels by frequency, labels per image, and P(column | row)."""
    plots.set_style()
    targets_NC = cache.splits["train"].targets_NC
    order_C = np.argsort(-targets_NC.sum(axis=0), kind="stable")
    classes = [cache.classes[c] for c in order_C]
    side = max(4.0, 0.17 * len(classes))
    figure, axes = plt.subplots(
        1, 3, figsize=(4 + 3 + side, side), gridspec_kw={"width_ratios": [4, 3, side]}
    )
    axes[0].barh(classes, targets_NC.sum(axis=0)[order_C])
    axes[0].invert_yaxis()
    axes[0].set(xlabel="training images", title="label frequency")
    count_K = np.bincount(targets_NC.sum(axis=1))
    axes[1].bar(range(len(count_K)), count_K / len(targets_NC))
    axes[1].set(xlabel="labels per image", ylabel="share of images", title="cardinality")
    pair_CC = targets_NC.astype(np.int64).T @ targets_NC
    pair_CC = pair_CC[np.ix_(order_C, order_C)]
    given_CC = pair_CC / np.maximum(np.diag(pair_CC), 1)[:, None]
    sns.heatmap(
        given_CC,
        ax=axes[2],
        xticklabels=classes,
        yticklabels=classes,
        vmin=0,
        vmax=1,
        cmap="viridis",
        square=True,
        cbar_kws={"shrink": 0.6},
        mask=np.eye(len(classes), dtype=bool),
    )
    axes[2].set(title="P(column | row)")
    figure.tight_layout()
    plots.save(figure, folder, name)
