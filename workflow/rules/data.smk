rule prepare_dataset:
    output:
        meta="cache/{protocol}/{dataset}/meta.json",
        sheet=report(
            "cache/{protocol}/{dataset}/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Data",
            labels={"result": "{dataset}: images"},
        ),
    log:
        "logs/{protocol}/cache/{dataset}.log",
    conda:
        "../../environment.yml"
    threads: within(LIMITS.cores, 8)  # decoding uses all cores that the job gets
    resources:
        mem_mb=4000,  # Python and 8 decoding processes, of which each needs 52 MB (measured)
        runtime=lambda w, attempt: minutes(
            ESTIMATOR.cache_minutes(PLAN.datasets[w.dataset]), attempt
        ),
    params:
        settings=lambda w: digest_of(PLAN.datasets[w.dataset]),
    shell:
        f"python -m mdkd cache {{wildcards.dataset}} --plan {PLAN_FILE} --jobs {{threads}} "
        "--log {log}"
