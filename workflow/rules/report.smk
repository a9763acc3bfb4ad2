# Tables and figures, computed from the records of finished runs. Each takes seconds. The exception
# is `ranks` with the paper's protocol: 1000 resamples of 40,000 images take about 3 s for each run.


rule collect:
    input:
        [ancient(RECORDS[run]) for run in SELECTED],
    output:
        f"{RESULTS}/metrics.csv",
    log:
        f"logs/{PLAN.protocol}/collect.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        f"python -m mdkd report metrics --plan {PLAN_FILE} --log {{log}}"


rule explore:
    input:
        [ancient(RECORDS[run]) for run in SELECTED],
    output:
        f"{RESULTS}/explore.html",
    log:
        f"logs/{PLAN.protocol}/explore.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings=[digest_of(PLAN.artefacts[name]) for name in PLAN.selected],
    shell:
        f"python -m mdkd report page --plan {PLAN_FILE} --log {{log}}"


# The report has one label for each file. Of several labels, Snakemake makes switches in the menu, and
# a file would be three clicks away.


rule table:
    input:
        records_of,
    output:
        csv=f"{RESULTS}/tables/{{artefact}}.csv",
        md=f"{RESULTS}/tables/{{artefact}}.md",
        tabular=f"{RESULTS}/tables/{{artefact}}.tabular.tex",
        tex=report(
            f"{RESULTS}/tables/{{artefact}}.tex",
            caption="../report/artefact.rst",
            category=group_of,
            labels={"result": "{artefact}: table, LaTeX"},
        ),
        html=report(
            f"{RESULTS}/tables/{{artefact}}.html",
            caption="../report/artefact.rst",
            category=group_of,
            labels={"result": "{artefact}: table"},
        ),
    log:
        f"logs/{PLAN.protocol}/tables/{{artefact}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings=lambda w: digest_of(PLAN.artefacts[w.artefact]),
        about=about,
    shell:
        f"python -m mdkd report table {{wildcards.artefact}} --plan {PLAN_FILE} --log {{log}}"


rule attend:
    input:
        records_of,
    output:
        f"{RESULTS}/attention/{{artefact}}.npz",
    log:
        f"logs/{PLAN.protocol}/attention/{{artefact}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: memory_mb(PLAN.artefacts[w.artefact].runs, attempt),
        runtime=lambda w, attempt: minutes(60, attempt),
    params:
        settings=lambda w: digest_of(PLAN.artefacts[w.artefact]),
    shell:
        f"python -m mdkd attend {{wildcards.artefact}} --plan {PLAN_FILE} --log {{log}}"


rule figure:
    input:
        records_of,
        lambda w: (rules.attend.output if kinds.get(PLAN.artefacts[w.artefact].kind).maps else []),
    output:
        pdf=f"{RESULTS}/figures/{{artefact}}.pdf",
        png=f"{RESULTS}/figures/{{artefact}}.png",
        svg=report(
            f"{RESULTS}/figures/{{artefact}}.svg",
            caption="../report/artefact.rst",
            category=group_of,
            labels={"result": "{artefact}: figure"},
        ),
    log:
        f"logs/{PLAN.protocol}/figures/{{artefact}}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings=lambda w: digest_of(PLAN.artefacts[w.artefact]),
        about=about,
    shell:
        f"python -m mdkd report figure {{wildcards.artefact}} --plan {PLAN_FILE} --log {{log}}"


rule document:
    input:
        [files_of(artefact) for artefact in TARGETS.get("paper", [])],
    output:
        f"{RESULTS}/paper.tex",  # and paper.pdf, if LaTeX is installed
    log:
        f"logs/{PLAN.protocol}/document.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        f"python -m mdkd report document --plan {PLAN_FILE} --log {{log}}"


rule partial:
    log:
        f"logs/{PLAN.protocol}/partial.log",
    # Tables and figures of the runs that are done; gaps are marked. No input, so nothing is trained.
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        f"python -m mdkd report partial --plan {PLAN_FILE} --log {{log}}"


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
            labels={"result": "{dataset}: labels"},
        ),
    log:
        "logs/{protocol}/labels/{dataset}.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        f"python -m mdkd report labels {{wildcards.dataset}} --plan {PLAN_FILE} --log {{log}}"
