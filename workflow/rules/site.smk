# The pages: a pure function of the results. What config's `keep` drops is not waited for, and the pages say so.
def evidence(benchmark):
    """The pictures and assets that stay on disk, of the truth and of every method."""
    clips, root = BENCHMARKS[benchmark].clips, f"results/{benchmark}"
    parts = [part for part, kind in (("frames", "renders"), ("asset", "assets")) if keeps(kind)]
    of_methods = f"{root}/{{method}}/seed{{seed}}/{{clip}}/{{part}}"
    return [
        *expand(of_methods, method=METHODS, seed=SEEDS, clip=clips, part=parts),
        *(expand(f"{root}/truth/{{clip}}/frames", clip=clips) if "frames" in parts else []),
        *expand(f"{root}/truth/{{clip}}/asset", clip=clips),
    ]


for benchmark in BENCHMARKS:

    rule:
        name:
            f"site_{benchmark}"
        input:
            protocol=protocol(benchmark),
            rows=f"results/{benchmark}/scores.parquet",
            frames=f"results/{benchmark}/frames.parquet",
            evidence=evidence(benchmark),
            methods=[relative(path) for method in METHODS.values() for path in method.sources],
            script=script("site.py"),
            code=sources(
                "bench4d/site/*.py",
                "bench4d/site/templates/*",
                "bench4d/site/static/*",
                "bench4d/columns.py",
                "bench4d/comparisons.py",
                "bench4d/stats.py",
                "bench4d/table*",
                "bench4d/video.py",
                "docs/metrics/*.md",
            ),
        output:
            # The rest of the folder is no output: Snakemake would delete it before it runs the rule again, and films
            # that are up to date would be encoded anew.
            f"results/{benchmark}/site/index.html",
        log:
            f"results/{benchmark}/logs/site.log",
        localrule: True
        conda:
            "../envs/report.yaml"
        threads: 8
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            methods=[relative(method.folder) for method in METHODS.values()],
            skipped=[f"{name}={reason}" for name, reason in SKIPPED.items()],
            results=parent_of_rows,
        shell:
            "python {input.script} --protocol {input.protocol} --methods {params.methods:q}"
            " --skipped {params.skipped:q} --results {params.results} --workers {threads} > {log} 2>&1"
