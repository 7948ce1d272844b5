# One job per method and seed: every network is loaded once.
for benchmark in BENCHMARKS:

    rule:
        name:
            f"weights_{benchmark}"
        input:
            protocol=protocol(benchmark),
            script=script("weights.py"),
            code=sources("bench4d/weights.py", "metrics/__init__.py", "weights.yaml"),
        output:
            f"results/{benchmark}/weights.json",
        log:
            f"results/{benchmark}/logs/weights.log",
        retries: 1
        conda:
            "../envs/metrics.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        shell:
            "python {input.script} --protocol {input.protocol} --out {output} > {log} 2>&1"

    rule:
        name:
            f"score_{benchmark}"
        input:
            protocol=protocol(benchmark),
            weights=f"results/{benchmark}/weights.json",
            method=method_files,
            truth=expand(
                f"results/{benchmark}/truth/{{clip}}/{{part}}",
                clip=BENCHMARKS[benchmark].clips,
                part=["asset", "frames"],
            ),
            method_outputs=expand(
                f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/{{part}}",
                clip=BENCHMARKS[benchmark].clips,
                part=["generate.json", "aligned.json", "asset", "frames"],
            ),
            script=script("score.py"),
            code=SCORER,
        output:
            f"results/{benchmark}/{{method}}/seed{{seed}}/scores.parquet",
            f"results/{benchmark}/{{method}}/seed{{seed}}/frames.parquet",
        log:
            f"results/{benchmark}/logs/score/{{method}}-seed{{seed}}.log",
        benchmark:
            f"results/{benchmark}/logs/score/{{method}}-seed{{seed}}.tsv"
        conda:
            "../envs/metrics.yaml"
        threads: 1
        resources:
            gpu=int(HAS_GPU),
            mem_mb=8000,
            runtime=240,
        params:
            method=method_folder,
            root=parent_of_output,
            truth=truth_root,
            lease=lease(HAS_GPU),
        shell:
            "{params.lease}python {input.script} --protocol {input.protocol} --method {params.method} --seed {wildcards.seed}"
            " --root {params.root} --truth {params.truth} --weights {input.weights} > {log} 2>&1"
