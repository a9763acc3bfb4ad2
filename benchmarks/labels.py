"""Time and memory of each loss over the number of labels: `python -m benchmarks.labels [C ...]`.

Forward and backward of the loss alone, 32 images, one thread. Processor times are medians of
interleaved rounds. Memory is the peak above that of the inputs, in a process of its own. Methods
that see no labels (RKD, PKT, ReviewKD) are left out.

Shape key: B images, C labels, E embedding width.
"""

import ctypes
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import harness
from mdkd import methodfiles, methods, records
from mdkd.outputs import Output, Spec

BATCH, PER_IMAGE, WIDTH = 32, 2.9, 64
LABELS = (20, 80, 1000, 10_000, 100_000)
MOST_EMBEDDINGS = 10_000  # labels; at 100,000, the embeddings alone would take gigabytes
ROUNDS = 5
MMAP_THRESHOLD = -3  # of malloc.h
RESULTS = Path("results/labels.json")


def main() -> None:
    torch.set_num_threads(1)
    labels = [int(text) for text in sys.argv[1:]] or list(LABELS)
    results = {str(c): measured(c) for c in labels}
    facts = harness.facts()
    text = markdown(results, facts)
    records.write_json(RESULTS, {"facts": facts, "results": results})
    RESULTS.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


def measured(labels: int) -> dict[str, dict[str, float]]:
    """Milliseconds and megabytes of each method, by its name."""
    files = methodfiles.read_all()
    names = [name for name, file in files.items() if file.needs == ["logits"]]
    names += [
        name
        for name, file in files.items()
        if "embeddings" in file.needs and labels <= MOST_EMBEDDINGS
    ]
    context = multiprocessing.get_context("fork")
    peaks = {}
    for name in names:
        queue = context.Queue()
        child = context.Process(target=peak, args=(name, labels, queue), daemon=True)
        (peaks[name],) = harness.collected([child], queue)
    times = harness.medians({name: step(name, labels) for name in names}, ROUNDS)
    return {name: {"ms": 1e3 * times[name], "MB": peaks[name]} for name in names}


def step(name: str, labels: int) -> Callable[[], None]:
    """The forward and backward pass of a method on random outputs.

    An image has as many positive labels as in COCO.
    """
    torch.manual_seed(0)
    file, spec = methodfiles.read(name), Spec(labels, 1, (), (), WIDTH)
    loss = methods.build(name, spec, spec, file.settings)
    target_BC = (torch.rand(BATCH, labels) < PER_IMAGE / labels).float()
    sizes = [(BATCH, labels, WIDTH)] * 2 if "embeddings" in file.needs else [(0,)] * 2
    student_BCE, teacher_BCE = (torch.randn(size) for size in sizes)
    student_BC, teacher_BC = torch.randn(2, BATCH, labels)
    leaves = [student_BC.requires_grad_(), student_BCE.requires_grad_()]

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        outputs = [
            Output(logits, logits, (), embeddings)
            for logits, embeddings in ((student_BC, student_BCE), (teacher_BC, teacher_BCE))
        ]
        torch.stack(list(loss(*outputs, target_BC).values())).sum().backward()

    return run


def peak(name: str, labels: int, queue: "multiprocessing.Queue[float]") -> None:
    """Put the peak memory of a step above that before it, in MB. Linux alone can say this."""
    ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 1 << 16)  # each tensor gets and returns pages
    step(name, 20)()  # what is loaded once
    run = step(name, labels)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now the present size
    before = status("VmRSS")
    run()
    queue.put((status("VmHWM") - before) / 1000)


def status(key: str) -> int:
    """A size of this process, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def markdown(results: dict[str, dict[str, dict[str, float]]], facts: dict) -> str:
    """One line for each method, one column for each number of labels."""
    names = list(dict.fromkeys(name for column in results.values() for name in column))
    lines = [
        "| | " + " | ".join(f"{int(c):,} labels" for c in results) + " |",
        "|---|" + "--:|" * len(results),
    ]
    for name in names:
        cells = [  # peaks are known to about 1 MB
            f"{column[name]['ms']:.3g} ms, {max(column[name]['MB'], 1):.0f} MB"
            if name in column
            else ""
            for column in results.values()
        ]
        lines.append(f"| {methodfiles.read(name).label} | " + " | ".join(cells) + " |")
    measured_on = ", ".join(f"{key} {value}" for key, value in facts.items())
    return "\n".join([*lines, "", f"Medians of processor time on one thread. {measured_on}."])


if __name__ == "__main__":
    main()
