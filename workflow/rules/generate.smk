rule:
    name:
        "method_weights"
    input:
        method=method_data,
        script=script("method_weights.py"),
        code=sources("bench4d/weights*.py"),
    output:
        "results/weights/{method}.json",
    log:
        "results/weights/{method}.log",
    conda:
        "../envs/metrics.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        method=method_folder,
        attempt=weights_attempt,
    shell:
        "python {input.script} --method {params.method} --attempt {params.attempt} --out {output} > {log} 2>&1"


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
            return math.ceil(seconds_per_clip(wildcards) / 60 * len(clips))

        def batch_disk(wildcards, clips=clips):
            return limit("disk_gb_per_clip")(wildcards) * len(clips)

        rule:
            name:
                f"generate_{benchmark}_{number}"
            input:
                clips=expand(f"results/{benchmark}/clips/{{clip}}", clip=clips),
                truth=truth_of,
                method=method_files,
                program=method_program,
                weights=weights_of,
                script=script("generate.py"),
                code=script("contain.py"),
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
            # Limits are resources and no params: raising one reruns nothing.
            resources:
                gpu=method_gpus,
                mem_mb=limit("ram_gb"),
                disk_mb=batch_disk,
                runtime=batch_minutes,
                clip_seconds=seconds_per_clip,
                clip_disk_mb=limit("disk_gb_per_clip"),
                clip_files=limit("files_per_clip"),
                log_mb=math.ceil(config["limits"]["log_mb"]),
            params:
                spec=spec,
                truth=truth_option,
                weights=weights_option,
                root=root_of_output,
                clips=clips_root,
                gpus=method_gpus,
            shell:
                "python {input.script} --spec {params.spec:q} --program {input.program} --clips {params.clips}"
                " {params.truth} {params.weights} --out {params.root} --log {log} --gpus {params.gpus} --seconds {resources.clip_seconds}"
                " --ram-mb {resources.mem_mb} --disk-mb {resources.clip_disk_mb} --files {resources.clip_files}"
                " --log-mb {resources.log_mb}"
