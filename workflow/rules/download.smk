# Official files of data sets, for example `snakemake --cores 1 download_voc2007`. No other rule
# needs these rules, so a data set is downloaded only if you ask for it.

import json

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
            # JSON, because bare text may mean something else in YAML. Snakemake does not look for
            # wildcards in what a function returns.
            setting=lambda w: f"data_root={json.dumps(SPEC.user.data_root)}",
        shell:
            "python -m mdkd download {params.dataset} --config {params.config:q} "
            "--set {params.setting:q} --log {log}"
