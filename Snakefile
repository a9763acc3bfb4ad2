# The benchmark as a graph of jobs: paths and resources only. What the jobs compute is in mdkd/,
# what they are asked to compute is in config/.

import json
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from mdkd import devices, records
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

min_version("9.20")


try:
    SPEC = Specification(Path("config"), config)  # config: what the command line gives
    PLAN = make_plan(SPEC)
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{PLAN.protocol}"
PLAN_FILE = f"{RESULTS}/plan.json"  # written when a run starts, read by its jobs
RECORD = f"{RESULTS}/runs/{{}}/run.json"
SUPERVISED = "supervised/{dataset}/{arch}/seed{seed}"
DISTILLED = "distill/{dataset}/{teacher}--{arch}/{method}/{variant}/seed{seed}"

SELECTED = list(dict.fromkeys(run for name in PLAN.selected for run in PLAN.artefacts[name].runs))
TARGETS = PLAN.targets()

# One GPU a training, as many trainings at once as this machine has GPUs; none of it on the CPU.
GPUS = 0 if PLAN.device == "cpu" else len(devices.visible_gpus())
if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS)


resource_scopes:
    gpu="local",  # not a limit on what is submitted to a cluster


wildcard_constraints:
    protocol=PLAN.protocol,
    dataset="[a-z0-9_]+",
    arch="[a-z0-9_]+",
    teacher="[a-z0-9_]+",
    method="[a-z0-9_]+",
    variant="[A-Za-z0-9._-]+",
    seed="[0-9]+",
    artefact="|".join(PLAN.artefacts),


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.collect.output,
        [RECORD.format(run) for run in SELECTED],  # so that a deleted one is made again
        expand(
            rules.label_statistics.output,
            protocol=PLAN.protocol,
            dataset={PLAN.runs[run].dataset.name for run in SELECTED},
        ),
        [files_of(artefact) for artefact in PLAN.selected],
    localrule: True


# Every artefact is a target of its own name, and belongs to those that its experiment names.
for target, artefacts in TARGETS.items():

    rule:
        name:
            target
        input:
            [files_of(artefact) for artefact in artefacts],
            rules.document.output if target == "paper" else [],
        localrule: True


onstart:
    records.write_json(Path(PLAN_FILE), PLAN.to_json())


onsuccess:
    targets = set(workflow.dag_settings.targets or ["all"])
    if targets <= {"all", *TARGETS}:
        given = " ".join(f"'{key}={json.dumps(value)}'" for key, value in config.items())
        options = f"--config {given}" if given else ""
        shell(f"python -m mdkd report metrics --plan {PLAN_FILE}")
        name = "_".join(
            ["report", *sorted(targets - {"all"})]
        )  # not over that of other targets
        shell(
            f"snakemake {' '.join(sorted(targets))} --report {RESULTS}/{name}.html {options} "
            f"> logs/{PLAN.protocol}/report.log 2>&1"
        )
    if "all" in targets:
        shell(f"python -m mdkd report show --plan {PLAN_FILE}")


onerror:
    shell(f"python -m mdkd plan --plan {PLAN_FILE}")
    print(f"some jobs failed: their logs lie below logs/{PLAN.protocol}/ and are printed above")
