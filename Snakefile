# bench4d: clips in, methods run, one renderer, scores, tables. This file is the table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


rule all:
    input:
        expand("results/{benchmark}/table.{form}", benchmark=BENCHMARKS, form=["csv", "md", "tex", "html", "txt"]),
        expand("results/{benchmark}/site/index.html", benchmark=BENCHMARKS if config["site"] else []),
        expand("results/{benchmark}/differences.png", benchmark=BENCHMARKS if DIFFERENCES_TO else []),


include: "workflow/rules/clips.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/align.smk"
include: "workflow/rules/render.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/site.smk"
