# The wildcards of a rule name its run; `params` holds all that its numbers depend on, so that a
# changed setting re-runs what it touches and nothing else. It is text, since Snakemake notices
# changes of plain values only. A change of code does not re-run anything: raise the method's
# revision in config/methods.yaml. Inputs are small records, never weights or pixels.


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
        mem_mb=8000,
        runtime=1440,
    params:
        plan=PLAN_FILE,
        settings=lambda w: repr(PLAN.runs[SUPERVISED.format(**w)]),
    shell:
        f"python -m mdkd train {SUPERVISED.replace('{', '{wildcards.')} "
        "--plan {params.plan} --log {log}"


rule distill:
    input:
        cache="cache/{protocol}/{dataset}/meta.json",
        teacher=lambda w: "results/{protocol}/runs/{teacher}/run.json".format(
            protocol=w.protocol, teacher=PLAN.runs[DISTILLED.format(**w)].teacher
        ),
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
        mem_mb=8000,
        runtime=1440,
    params:
        plan=PLAN_FILE,
        settings=lambda w: repr(PLAN.runs[DISTILLED.format(**w)]),
    shell:
        f"python -m mdkd train {DISTILLED.replace('{', '{wildcards.')} "
        "--plan {params.plan} --log {log}"
