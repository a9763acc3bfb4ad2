# The wildcards of a rule name its run. `params` contains all settings that determine the numbers of
# the run. If a setting changes, Snakemake therefore trains the affected runs again, and no others.
# The settings are passed as text, because Snakemake notices changes in plain values only. A change
# of code trains nothing again. If a method's numbers change, raise the revision in its YAML file.
# Inputs are small records, never weights or pixels.


rule train_supervised:
    input:
        cache="cache/{protocol}/{dataset}/meta.json",
    output:
        multiext(
            f"results/{{protocol}}/runs/{SUPERVISED}/",
            "run.json",
            "history.jsonl",
            "model.pt",
            "predictions.npz",
        ),
    log:
        f"logs/{{protocol}}/train/{SUPERVISED}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=min(GPUS, 1),
        mem_mb=lambda w: memory_mb([run_of(w).path]),
        runtime=lambda w: ESTIMATOR.minutes(run_of(w)),
    params:
        plan=PLAN_FILE,
        settings=lambda w: repr(run_of(w)),
    shell:
        f"python -m mdkd train {SUPERVISED.replace('{', '{wildcards.')} "
        "--plan {params.plan} --log {log}"


rule distill:
    input:
        cache="cache/{protocol}/{dataset}/meta.json",
        teacher=lambda w: RECORD.format(run_of(w).teacher),
    output:
        multiext(
            f"results/{{protocol}}/runs/{DISTILLED}/",
            "run.json",
            "history.jsonl",
            "model.pt",
            "predictions.npz",
        ),
    log:
        f"logs/{{protocol}}/train/{DISTILLED}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=min(GPUS, 1),
        mem_mb=lambda w: memory_mb([run_of(w).path]),
        runtime=lambda w: ESTIMATOR.minutes(run_of(w)),
    params:
        plan=PLAN_FILE,
        settings=lambda w: repr(run_of(w)),
    shell:
        f"python -m mdkd train {DISTILLED.replace('{', '{wildcards.')} "
        "--plan {params.plan} --log {log}"
