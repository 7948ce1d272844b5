# One job per method and seed: every network is loaded once. The truth's vectors are kept in results/<benchmark>/features,
# which is no output: jobs share it, and its files are named by all that decides them.
SCORE_THREADS = 8 if HAS_GPU else 1  # a GPU waits for decoding, and for metrics that run on the CPU


for benchmark in BENCHMARKS:

    rule:
        name:
            f"weights_{benchmark}"
        input:
            protocol=protocol(benchmark),
            script=script("weights.py"),
            code=sources("bench4d/weights.py", "bench4d/metric_loading.py", "metrics/__init__.py", "weights.yaml"),
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
        threads: SCORE_THREADS
        resources:
            gpu=int(HAS_GPU),
            mem_mb=8000,
            runtime=240,
        params:
            method=method_folder,
            root=parent_of_output,
            truth=truth_root,
            lease=lease(HAS_GPU),
            precision=config["precision"],
        shell:
            "{params.lease}python {input.script} --protocol {input.protocol} --method {params.method} --seed {wildcards.seed}"
            " --root {params.root} --truth {params.truth} --weights {input.weights} --precision {params.precision}"
            " --threads {threads} > {log} 2>&1"
