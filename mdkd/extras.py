"""What is installed on request: the extra of this package that brings each module, and LaTeX."""

LATEX = "install texlive-latex-recommended (Debian, Ubuntu), MacTeX, or tectonic (conda-forge)"

EXTRAS = {  # by the name of the extra in pyproject.toml: the modules that the code imports
    "benchmark": (
        "PIL",
        "matplotlib",
        "pandas",
        "pytorch_grad_cam",
        "scipy",
        "seaborn",
        "timm",
        "torchvision",
    ),
    "export": ("onnxruntime", "safetensors"),
    "tensorboard": ("tensorboard",),
    "completion": ("shtab",),
}


def advice(error: ModuleNotFoundError) -> str | None:
    """One line with the fix if the module belongs to an extra; None for any other module.

    >>> advice(ModuleNotFoundError(name="timm.models"))
    "timm is not installed, which this needs; run `pip install 'mdkd[benchmark]'`"
    """
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            what = f"{module} is not installed, which this needs"
            return f"{what}; run `pip install 'mdkd[{extra}]'`"
    return None
