# The logits of a teacher, and perhaps its pooled vectors, are stored if at least two runs that are
# left to train can read them. A training that finds them complete reads them; otherwise it computes
# them. The numbers are the same.


rule store_logits:
    input:
        cache=ancient("cache/{protocol}/{dataset}/meta.json"),
        teacher=lambda w: ancient(RECORDS[reader_of(w).teacher]),
    output:
        f"results/{{protocol}}/runs/{runpath.OUTPUTS}/{{key}}.json",
    log:
        f"logs/{{protocol}}/{runpath.OUTPUTS}/{{key}}.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: memory_mb([reader_of(w).path], attempt),
        runtime=lambda w, attempt: minutes(ESTIMATOR.logits_minutes(reader_of(w), w.kind), attempt),
        slurm_extra=after_earlier_job,
    shell:
        f"exec python -m mdkd logits {runpath.OUTPUTS.replace('{', '{wildcards.')} "
        f"--plan {PLAN_FILE} --log {{log}}"
