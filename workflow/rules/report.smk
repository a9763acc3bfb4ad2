rule collect:
    localrule: True
    input:
        [f"{RESULTS}/runs/{run}/metrics.json" for run in PLAN.runs],
    output:
        f"{RESULTS}/metrics.csv",
    log:
        f"logs/{PLAN.protocol}/collect.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m mdkd report metrics --plan {PLAN_FILE} --log {log}"


rule table_comparison:
    localrule: True
    input:
        lambda w: [f"{RESULTS}/runs/{run}/metrics.json" for run in PLAN.artefacts[w.artefact].runs],
    output:
        multiext(f"{RESULTS}/tables/{{artefact}}", ".csv", ".md", ".tex"),
    log:
        f"logs/{PLAN.protocol}/tables/{{artefact}}.log",
    conda:
        "../../environment.yml"
    params:
        artefact=lambda w: asdict(PLAN.artefacts[w.artefact]),
    shell:
        "python -m mdkd report table {wildcards.artefact} --plan {PLAN_FILE} --log {log}"


rule figure_comparison:
    localrule: True
    input:
        lambda w: [f"{RESULTS}/runs/{run}/metrics.json" for run in PLAN.artefacts[w.artefact].runs],
    output:
        multiext(f"{RESULTS}/figures/{{artefact}}", ".pdf", ".svg", ".png"),
    log:
        f"logs/{PLAN.protocol}/figures/{{artefact}}.log",
    conda:
        "../../environment.yml"
    params:
        artefact=lambda w: asdict(PLAN.artefacts[w.artefact]),
    shell:
        "python -m mdkd report figure {wildcards.artefact} --plan {PLAN_FILE} --log {log}"


rule partial:
    # Tables and figures of whatever has been scored so far, gaps marked; waits for nothing.
    localrule: True
    log:
        f"logs/{PLAN.protocol}/partial.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m mdkd report partial --plan {PLAN_FILE} --log {log}"
