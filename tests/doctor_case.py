"""What nvidia-smi, sinfo and the kernel print, and a plan, for the tests of `mdkd doctor`."""

import shutil

import yaml
from conftest import edit_yaml
from cost_case import RATES

from mdkd.config import parse
from mdkd.costs import Estimator
from mdkd.plan import make_plan
from mdkd.rates import Rates
from mdkd.results import Results
from mdkd.spec import Specification

SMI = """\
NVIDIA A100-SXM4-80GB, 81920, 81037, 535.129.03
NVIDIA A100-SXM4-80GB, 81920, 1024, 535.129.03
NVIDIA GH200 480GB, [N/A], [N/A], 535.129.03
"""
VERSIONS = {
    "535.129.03": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 "
    "UTC 2023\nGCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)\n",
    "550.54.15": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  550.54.15  Release "
    "Build  (dvs-builder@U16-A24-23-2)  Tue Mar  5 22:15:33 UTC 2024\n",
}
INFORMATION = """\
Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 18
GPU UUID: \t GPU-1f2e3d4c-aaaa-bbbb-cccc-0123456789ab
Bus Type: \t PCIe
Device Minor: \t 0
"""
SINFO = """\
debug|up|30:00|32|192000|(null)|4
batch*|up|2-00:00:00|64+|257000+|(null)|118
gpu|up|1-00:00:00|128|1031000|gpu:a100:4(S:0-3),lustre:1|12
gpu|up|1-00:00:00|48|385000|gpu:v100:8(S:0-1)|3
old|inact|infinite|16|64000|gpu:2|1
"""
MEMINFO = """\
MemTotal:       24683656 kB
MemFree:         1026876 kB
MemAvailable:   22787992 kB
Buffers:          244436 kB
HugePages_Total:       0
"""
MOUNTS = """\
/dev/nvme0n1p2 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw,nosuid,nodev 0 0
nas:/export/home /home nfs4 rw,vers=4.2,proto=tcp,local_lock=none,addr=10.0.0.2 0 0
nas:/old /old\\040data nfs rw,vers=3,nolock,local_lock=all 0 0
mds@tcp:/scratch /scratch lustre rw,seclabel,flock,lazystatfs 0 0
mds@tcp:/fast /scratch/fast lustre rw,localflock 0 0
"""


def make_estimator(config):
    """That of a plan that selects one of two artefacts, for the working directory."""
    folder = config / "experiments"
    shutil.copy(folder / "comparison.yaml", folder / "wide.yaml")
    pair = {"teacher": "resnet8x2", "student": "resnet8"}
    for name, dataset in (("comparison", "scenes"), ("wide", "voc2007")):
        change = {"pairs": [{"dataset": dataset, **pair}], "methods": ["vanilla"]}
        edit_yaml(folder / f"{name}.yaml", lambda e, change=change: e.update(change))
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.pop("stand_ins"))
    (config / "rates.yaml").write_text(yaml.safe_dump(RATES))
    given = {"experiments": ["comparison"], "seeds": [0]}
    plan = make_plan(Specification(config, given))
    results = Results(protocol="smoke", runs=plan.runs)
    return Estimator(plan, parse(Rates, RATES, "rates"), results).learn(results)
