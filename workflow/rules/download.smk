# Official files of data sets, fetched on request only: `snakemake --cores 1 download_voc2007`.
# No other rule asks for them, so neither a dry run nor a benchmark downloads anything.

from mdkd.data.download import read_downloads

try:
    DOWNLOADS = read_downloads(Path("config/downloads.yaml"))
except UserError as error:
    raise WorkflowError(str(error)) from None

for target in DOWNLOADS:

    rule:
        name:
            f"download_{target}"
        log:
            f"logs/download/{target}.log",
        localrule: True  # compute nodes seldom reach the internet
        conda:
            "../../environment.yml"
        params:
            dataset=target,
            data_root=SPEC.user.data_root,
        shell:
            "python -m mdkd download {params.dataset} --set data_root={params.data_root:q} --log {log}"
