# Tables and figures from the records of finished runs. Rebuilding them costs seconds.


rule collect:
    input:
        [METRICS.format(run) for run in PLAN.runs],
    output:
        f"{RESULTS}/metrics.csv",
    log:
        f"logs/{PLAN.protocol}/collect.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        plan=PLAN_FILE,
    shell:
        "python -m mdkd report metrics --plan {params.plan} --log {log}"


rule table_comparison:
    input:
        lambda w: [METRICS.format(run) for run in PLAN.artefacts[w.artefact].runs],
    output:
        csv=f"{RESULTS}/tables/{{artefact}}.csv",
        md=f"{RESULTS}/tables/{{artefact}}.md",
        tex=report(
            f"{RESULTS}/tables/{{artefact}}.tex",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"artefact": "{artefact}", "content": "table, LaTeX"},
        ),
        html=report(
            f"{RESULTS}/tables/{{artefact}}.html",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"artefact": "{artefact}", "content": "table"},
        ),
    log:
        f"logs/{PLAN.protocol}/tables/{{artefact}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        plan=PLAN_FILE,
        artefact=lambda w: asdict(PLAN.artefacts[w.artefact]),
    shell:
        "python -m mdkd report table {wildcards.artefact} --plan {params.plan} --log {log}"


rule figure_comparison:
    input:
        lambda w: [METRICS.format(run) for run in PLAN.artefacts[w.artefact].runs],
    output:
        pdf=f"{RESULTS}/figures/{{artefact}}.pdf",
        png=f"{RESULTS}/figures/{{artefact}}.png",
        svg=report(
            f"{RESULTS}/figures/{{artefact}}.svg",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"artefact": "{artefact}", "content": "figure"},
        ),
    log:
        f"logs/{PLAN.protocol}/figures/{{artefact}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        plan=PLAN_FILE,
        artefact=lambda w: asdict(PLAN.artefacts[w.artefact]),
    shell:
        "python -m mdkd report figure {wildcards.artefact} --plan {params.plan} --log {log}"


rule partial:
    log:
        f"logs/{PLAN.protocol}/partial.log",
    # Tables and figures of whatever has been scored so far, gaps marked; waits for nothing.
    localrule: True
    conda:
        "../../environment.yml"
    params:
        plan=PLAN_FILE,
    shell:
        "python -m mdkd report partial --plan {params.plan} --log {log}"


rule label_statistics:
    input:
        "cache/{protocol}/{dataset}/meta.json",
    output:
        csv="results/{protocol}/tables/labels_{dataset}.csv",
        pairs="results/{protocol}/tables/pairs_{dataset}.csv",
        md="results/{protocol}/tables/labels_{dataset}.md",
        pdf="results/{protocol}/figures/labels_{dataset}.pdf",
        png="results/{protocol}/figures/labels_{dataset}.png",
        svg=report(
            "results/{protocol}/figures/labels_{dataset}.svg",
            caption="../report/labels.rst",
            category="Data",
            labels={"data set": "{dataset}", "content": "label statistics"},
        ),
    log:
        "logs/{protocol}/labels/{dataset}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        plan=PLAN_FILE,
    shell:
        "python -m mdkd report labels {wildcards.dataset} --plan {params.plan} --log {log}"
