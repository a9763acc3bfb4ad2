# Functions for the rules: files and runs of artefacts, runs, memory, and logs of failed jobs.

import re
import subprocess

from snakemake.cli import parse_args

from mdkd import kinds
from mdkd.errors import find
from mdkd.layout import FIGURE_FORMATS, TABLE_FORMATS
from mdkd.runpath import DISTILLED, SUPERVISED

LIMITS = PLAN.job_limits

# Stored outputs that this call makes or reads, and one run of each that reads them.
LEFT = {run for run, record in RECORDS.items() if not Path(record).exists()}
READERS = ESTIMATOR.worthwhile(LEFT) if workflow.is_main_process else logits.groups(PLAN)
STORES = {name: PLAN.runs[runs[0]] for name, runs in READERS.items()}

TABLE = expand(f"{RESULTS}/tables/{{{{artefact}}}}.{{suffix}}", suffix=TABLE_FORMATS)
FIGURE = expand(f"{RESULTS}/figures/{{{{artefact}}}}.{{suffix}}", suffix=FIGURE_FORMATS)


def files_of(artefact):
    """The tables and figures of an artefact."""
    outputs = kinds.get(PLAN.artefacts[artefact].kind).outputs
    files = (TABLE if "table" in outputs else []) + (FIGURE if "figure" in outputs else [])
    return expand(files, artefact=artefact)


def records_of(wildcards):
    """The records of the runs from which an artefact is computed."""
    return [ancient(RECORDS[run]) for run in PLAN.artefacts[wildcards.artefact].runs]


def group_of(wildcards):
    """The heading under which the report shows an artefact."""
    return PLAN.artefacts[wildcards.artefact].group


def digest_of(settings):
    """A short parameter that changes with any of these settings; Snakemake prints parameters."""
    return records.digest(asdict(settings))[:16]


def about(wildcards):
    """What the report's caption says about an artefact."""
    settings = asdict(PLAN.artefacts[wildcards.artefact])
    texts = {key: settings[key] for key in ("title", "columns", "protocol", "seeds", "notes")}
    return {key: plain(value) for key, value in texts.items()}


def plain(value):
    """Text, or a list of texts, as source of reStructuredText that prints it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return re.sub(r"[^\w\s]", r"\\\g<0>", " ".join(str(value).split()))


def run_of(wildcards):
    """The planned run of a training job."""
    template = DISTILLED if hasattr(wildcards, "teacher") else SUPERVISED
    return PLAN.runs[template.format(**wildcards)]


def logits_of(wildcards):
    """The stored outputs that a distillation reads, if any. Only the main process has to wait."""
    run = run_of(wildcards)
    names = [name for name, runs in READERS.items() if run.path in runs]
    if not workflow.is_main_process:
        return []
    return [ancient(str(LAYOUT.published(name, logits.key(run)))) for name in names]


def reader_of(wildcards):
    """A run that reads the outputs of a job."""
    return STORES[runpath.OUTPUTS.format(**wildcards)]


def within(limit, value):
    """The value, but at most a limit of `job_limits` in config.yaml; None is no limit."""
    return value if limit is None else min(value, round(limit))


def minutes(estimate, attempt):
    """The time to ask for: more at each attempt."""
    return within(LIMITS.minutes, attempt * estimate)


def memory_mb(paths, attempt):
    """Main memory, in MB, for a job that loads these runs one after the other."""
    needed = [ESTIMATOR.memory(PLAN.runs[path]) for path in paths]
    estimate = 8000 if None in needed else round(max(needed) / 1e6)
    return within(LIMITS.memory_gb and 1000 * LIMITS.memory_gb, attempt * estimate)


def check_targets():
    """Stop if a target has the name of a rule: Snakemake could not tell the two apart."""
    for name, artefact in PLAN.artefacts.items():
        for target in filter(rules.has, [name, *artefact.targets]):
            raise WorkflowError(
                f"{CONFIG_FOLDER}/experiments/{name}.yaml: '{target}' is the name of a rule of the "
                "workflow and cannot be the name of a target; choose another"
            )


def check_words():
    """Stop at a word that is no target, and say which target is the nearest.

    Snakemake does so later, without a hint. It knows the targets only after it has read the rules.
    """
    if "snakemake" not in Path(sys.argv[0]).parts[-2:]:  # another program has called it
        return
    for word in parse_args(sys.argv[1:])[1].targets:
        if not rules.has(word) and "/" not in word:  # a path may be the output of a rule
            try:
                find(TARGETS | {"all": PLAN.selected, "partial": []}, word)
            except UserError as error:
                raise WorkflowError(str(error)) from None


def check_container():
    """Stop if jobs are to run in a container and config.yaml names no image that can be used."""
    image, where = PLAN.container, f"{CONFIG_FOLDER}/config.yaml: container"
    if image is None:
        raise WorkflowError(
            f"{where}: --sdm apptainer needs an image; build one from Dockerfile and name it here"
        )
    if "://" not in image and not Path(image).exists():
        raise WorkflowError(
            f"{where}: no file '{image}'; name an image file, or an address such as docker://..."
        )


def call(program, *arguments, log_file=None):
    """Run a Python program without a shell, so no text of the configuration needs quoting."""
    with open(log_file or os.devnull, "w", encoding="utf-8") as file:
        output = {"stdout": file, "stderr": subprocess.STDOUT} if log_file else {}
        ended = subprocess.run([sys.executable, "-m", program, *arguments], **output)
    if ended.returncode:
        where = f"; see {log_file}" if log_file else ""
        raise WorkflowError(f"{program} {' '.join(arguments)} failed{where}")


def failed_logs(snakemake_logs):
    """The log files of all jobs that failed, from Snakemake's own logs."""
    text = "".join(Path(file).read_text(errors="replace") for file in snakemake_logs)
    return list(dict.fromkeys(re.findall(r"^    log: (.+) \(check log file", text, re.MULTILINE)))
