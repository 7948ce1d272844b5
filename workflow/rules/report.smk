# Tables are pure functions of the rows.
for benchmark in BENCHMARKS:

    rule:
        name:
            f"report_{benchmark}"
        input:
            protocol=protocol(benchmark),
            scores=expand(f"results/{benchmark}/{{method}}/seed{{seed}}/scores.parquet", method=METHODS, seed=SEEDS),
            script=script("report.py"),
            code=sources(
                "bench4d/columns.py",
                "bench4d/comparisons.py",
                "bench4d/stats.py",
                "bench4d/table*",
                "bench4d/results.py",
                "metrics/*.py",
            ),
        output:
            expand(f"results/{benchmark}/table.{{form}}", form=["csv", "md", "tex", "txt"]),
            html=report(
                f"results/{benchmark}/table.html",
                caption="../report/table.rst",
                category="Tables",
                labels={"benchmark": benchmark},
            ),
            comparisons=f"results/{benchmark}/comparisons.csv",
            rows=f"results/{benchmark}/scores.parquet",
            frames=f"results/{benchmark}/frames.parquet",
        log:
            f"results/{benchmark}/logs/report.log",
        localrule: True
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            methods=[relative(method.folder) for method in METHODS.values()],
            skipped=[f"{name}={reason}" for name, reason in SKIPPED.items()],
            out=parent_of_output,
        shell:
            "python {input.script} --protocol {input.protocol} --methods {params.methods:q} --scores {input.scores}"
            " --skipped {params.skipped:q} --out {params.out} > {log} 2>&1"
