rule prepare_dataset:
    output:
        meta="cache/{protocol}/{dataset}/meta.json",
        sheet=report(
            "cache/{protocol}/{dataset}/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Data",
            labels={"data set": "{dataset}", "content": "contact sheet"},
        ),
    log:
        "logs/{protocol}/cache/{dataset}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        plan=PLAN_FILE,
        settings=lambda w: asdict(PLAN.datasets[w.dataset]),
    shell:
        "python -m mdkd cache {wildcards.dataset} --plan {params.plan} --log {log}"
