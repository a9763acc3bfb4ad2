"""Time and memory of making a cache at 224 px: `python -m benchmarks.cache [IMAGES] [FOLDER]`.

JPEGs of about 500 x 375, copies of 300 different ones under IMAGES names (default 2000) in COCO's
layout, are decoded by one process and by two. Then one thread reads the finished cache as a
training does. Pixels are in the page cache where it is large enough, as they are in a training
after its first epoch. FOLDER (default: that of temporary files) needs 270 kB for each image.
"""

import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mdkd.config import Dataset, Recipe
from mdkd.data import decode
from mdkd.data.build import build
from mdkd.data.cache import CachedSplit, open_cache, verify
from mdkd.data.sources import scenes

DATASET = Dataset(name="drawn", source="coco", image_size=224)
RECIPE = Recipe(epochs=1, batch_size=32, lr=1.0, weight_decay=0.0, flip=True, cutout=0.5)
DIFFERENT, LABELS = 300, 80


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as temporary:
        root = Path(temporary)
        jpeg_bytes = draw(root, count)
        print(f"{count} JPEGs of {jpeg_bytes / 1000:.0f} kB on average")
        print("jobs   images/s   images/CPU s   parent MB   worker MB")
        for jobs in (1, 2):
            context = multiprocessing.get_context("spawn")  # a process of its own: clean memory
            with ProcessPoolExecutor(1, context) as pool:
                result = pool.submit(timed_build, root, root / "cache", jobs).result()
            wall_s, cpu_s, own_mb, worker_mb = result
            workers = f"{worker_mb:11.0f}" if jobs > 1 else ""
            print(
                f"{jobs:4} {count / wall_s:10.0f} {count / cpu_s:14.0f} {own_mb:11.0f} {workers}",
                flush=True,
            )
        started = time.perf_counter()
        verify(root / "cache")
        print(f"verified: {count / (time.perf_counter() - started):.0f} images/s")
        for name, rate in reading(open_cache(root / "cache").splits["train"]).items():
            print(f"{name}: {rate:.0f} images/s on one thread")


def draw(root: Path, count: int) -> float:
    """A folder in COCO's layout, two thirds of it for training; returns the mean size of a file."""
    options = scenes.Options(train=DIFFERENT, test=1, difficulty=2.0)
    split = scenes.load(options, root, 500).splits["train"]
    drawn = []
    for i in range(DIFFERENT):
        drawn.append(root / f"{i}.jpg")
        Image.fromarray(split.image(i)).crop((0, 62, 500, 437)).save(drawn[i], quality=90)
    for name, numbers in (
        ("train2014", range(count * 2 // 3)),
        ("val2014", range(count * 2 // 3, count)),
    ):
        (root / name).mkdir()
        for number in numbers:
            shutil.copy(drawn[number % DIFFERENT], root / name / f"{number}.jpg")
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n in numbers],
            "annotations": [
                {"image_id": n, "category_id": (n * 7 + k * 31) % LABELS}
                for n in numbers
                for k in range(3)
            ],
            "categories": [{"id": c, "name": f"label {c:02d}"} for c in range(LABELS)],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    return float(np.mean([file.stat().st_size for file in drawn]))


def timed_build(root: Path, folder: Path, jobs: int) -> tuple[float, float, float, float]:
    """Seconds on the clock, of all processors, and peak MB of the process and its largest worker.

    Processor time tells the speed of a core also on a machine that has other work.
    """
    decode.IMAGES_PER_PROCESS = 1  # as many processes as asked for
    started = time.perf_counter()
    build(DATASET, root, folder, jobs)
    wall_s = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    mb = 1e-6 if sys.platform == "darwin" else 1024e-6
    return wall_s, cpu_s, own.ru_maxrss * mb, workers.ru_maxrss * mb


def reading(split: CachedSplit) -> dict[str, float]:
    """Images per second of one epoch of training: as floats in batches, as a CPU needs them."""
    import torch

    from mdkd.data.loader import Loader

    torch.set_num_threads(1)
    loader, rates = Loader(split, RECIPE, seed=0, device=torch.device("cpu")), {}
    for epoch in range(3):
        started = time.perf_counter()
        images = sum(len(batch.images_BCHW) for batch in loader.train(epoch))
        rates[f"epoch {epoch + 1} from the cache"] = images / (time.perf_counter() - started)
    return rates


if __name__ == "__main__":
    main()
