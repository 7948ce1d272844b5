# One process of a method over a batch of clips; a record a clip says how it went and what it cost.
for benchmark in BENCHMARKS:
    for number, clips in enumerate(batches(benchmark)):

        def spec(wildcards, clips=clips, benchmark=BENCHMARKS[benchmark]):
            """What the method is told. Only a method that makes images is told the cameras."""
            data = METHODS[wildcards.method].data
            told = {"method": wildcards.method, "clips": clips, "seed": int(wildcards.seed), "weights": {}}
            told |= {
                "parameters": data["parameters"],
                "n_frames": benchmark.data["n_frames"],
                "fps": benchmark.data["fps"],
            }
            if data["output"] == "views":
                told["cameras"] = benchmark.cameras.to_json()
            return json.dumps(told, sort_keys=True)

        def truth_of(wildcards, clips=clips, benchmark=benchmark):
            """The truth's folders, for reference methods only."""
            if METHODS[wildcards.method].kind != "reference":
                return []
            return [f"results/{benchmark}/truth/{clip}/asset" for clip in clips]

        def batch_minutes(wildcards, clips=clips):
            return math.ceil(minutes_per_clip(wildcards) * len(clips))

        rule:
            name:
                f"generate_{benchmark}_{number}"
            input:
                clips=expand(f"results/{benchmark}/clips/{{clip}}", clip=clips),
                truth=truth_of,
                method=method_files,
                program=method_program,
                script=script("generate.py"),
            output:
                records=expand(
                    f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/generate.json", clip=clips
                ),
                assets=[kept("assets", f"results/{benchmark}/{{method}}/seed{{seed}}/{clip}/asset") for clip in clips],
            log:
                f"results/{benchmark}/logs/generate/{{method}}-seed{{seed}}-{number}.log",
            benchmark:
                f"results/{benchmark}/logs/generate/{{method}}-seed{{seed}}-{number}.tsv"
            conda:
                method_environment
            threads: 1
            resources:
                gpu=method_gpus,
                mem_mb=8000,
                runtime=batch_minutes,
            params:
                spec=spec,
                truth=truth_option,
                root=root_of_output,
                clips=clips_root,
                minutes=minutes_per_clip,
            shell:
                "python {input.script} --spec {params.spec:q} --program {input.program} --clips {params.clips}"
                " {params.truth} --out {params.root} --minutes-per-clip {params.minutes} --log {log}"
