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
    artefact = PLAN.artefacts[wildcards.artefact]
    groups = [target for target in artefact.targets if target != "paper"]
    further = "further results" if artefact.targets else artefact.kind
    return (groups[0] if groups else further).capitalize()
