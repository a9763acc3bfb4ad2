# What rules need to know of an artefact.

from mdkd.kinds import KINDS

TABLE = expand(f"{RESULTS}/tables/{{{{artefact}}}}.{{suffix}}", suffix=["csv", "md", "tex", "html"])
FIGURE = expand(f"{RESULTS}/figures/{{{{artefact}}}}.{{suffix}}", suffix=["pdf", "png", "svg"])


def files_of(artefact):
    """The tables and figures of an artefact."""
    outputs = KINDS[PLAN.artefacts[artefact].kind].outputs
    files = (TABLE if "table" in outputs else []) + (FIGURE if "figure" in outputs else [])
    return expand(files, artefact=artefact)


def records_of(wildcards):
    """The runs that an artefact is computed from."""
    return [RECORD.format(run) for run in PLAN.artefacts[wildcards.artefact].runs]


def target_of(wildcards):
    """The group under which the report shows an artefact."""
    targets = PLAN.artefacts[wildcards.artefact].targets
    return targets[0].capitalize() if targets else "Other"
