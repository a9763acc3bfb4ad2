# Official files of data sets, for example `snakemake --cores 1 download_voc2007`. No other rule
# needs these rules, so a data set is downloaded only if you ask for it.

from mdkd.data.download import read_downloads

try:
    DOWNLOADS = read_downloads(CONFIG_FOLDER / "downloads.yaml")
except UserError as error:
    raise WorkflowError(str(error)) from None

for target in DOWNLOADS:

    rule:
        name:
            f"download_{target}"
        log:
            f"logs/download/{target}.log",
        localrule: True  # compute nodes often have no access to the internet
        conda:
            "../../environment.yml"
        params:
            dataset=target,
            config=str(CONFIG_FOLDER),
            data_root=SPEC.user.data_root,
        shell:
            "python -m mdkd download {params.dataset} --config {params.config:q} "
            "--set data_root={params.data_root:q} --log {log}"
