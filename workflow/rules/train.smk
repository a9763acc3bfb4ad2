# The wildcards of a rule name its run and its key (mdkd/keys.py), a digest of everything that the
# run's numbers depend on. A changed setting therefore asks for another file, and going back asks for
# the old one again. A change of code re-runs nothing: raise the revision in the method's YAML file.
# Times of files do not count: what is finished is known from the store.


rule train_supervised:
    input:
        cache=ancient("cache/{protocol}/{dataset}/meta.json"),
    output:
        f"results/{{protocol}}/runs/{SUPERVISED}/{{key}}.json",
    log:
        f"logs/{{protocol}}/train/{SUPERVISED}/{{key}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: memory_mb([run_of(w).path], attempt),
        runtime=lambda w, attempt: minutes(ESTIMATOR.minutes(run_of(w)), attempt),
        slurm_extra=after_earlier_job,
    shell:
        f"exec python -m mdkd train {SUPERVISED.replace('{', '{wildcards.')} "
        f"--plan {PLAN_FILE} --log {{log}}"


rule distill:
    input:
        cache=ancient("cache/{protocol}/{dataset}/meta.json"),
        teacher=lambda w: ancient(RECORDS[run_of(w).teacher]),
        logits=logits_of,
    output:
        f"results/{{protocol}}/runs/{DISTILLED}/{{key}}.json",
    log:
        f"logs/{{protocol}}/train/{DISTILLED}/{{key}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: memory_mb([run_of(w).path], attempt),
        runtime=lambda w, attempt: minutes(ESTIMATOR.minutes(run_of(w)), attempt),
        slurm_extra=after_earlier_job,
    shell:
        f"exec python -m mdkd train {DISTILLED.replace('{', '{wildcards.')} "
        f"--plan {PLAN_FILE} --log {{log}}"
