# Figures are pure functions of the rows.
for benchmark in BENCHMARKS if DIFFERENCES_TO else []:

    rule:
        name:
            f"figures_{benchmark}"
        input:
            protocol=protocol(benchmark),
            rows=f"results/{benchmark}/scores.parquet",
            script=script("figure.py"),
            code=sources(
                "bench4d/figures/*.py",
                "bench4d/columns.py",
                "bench4d/comparisons.py",
                "bench4d/stats.py",
                "metrics/*.py",
            ),
        output:
            f"results/{benchmark}/differences.pdf",
            f"results/{benchmark}/differences.png",
        log:
            f"results/{benchmark}/logs/figures.log",
        localrule: True
        conda:
            "../envs/figures.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            methods=",".join(name for name, method in METHODS.items() if method.kind != "reference"),
            against=DIFFERENCES_TO,
            out=f"results/{benchmark}/differences",
        shell:
            "python {input.script} differences {input.rows} --against {params.against} --methods {params.methods}"
            " --out {params.out} > {log} 2>&1"
