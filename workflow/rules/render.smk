# One renderer, one rig, one background: for the truth and for every method.
for benchmark in BENCHMARKS:
    for number, clips in enumerate(batches(benchmark)):

        rule:
            name:
                f"render_truth_{benchmark}_{number}"
            input:
                protocol=protocol(benchmark),
                assets=expand(f"results/{benchmark}/truth/{{clip}}/asset", clip=clips),
                script=script("render.py"),
                code=RENDERER,
            output:
                [kept("renders", f"results/{benchmark}/truth/{clip}/frames") for clip in clips],
            log:
                f"results/{benchmark}/logs/render/truth-{number}.log",
            benchmark:
                f"results/{benchmark}/logs/render/truth-{number}.tsv"
            conda:
                "../envs/render.yaml"
            threads: 4 if config["renderer"] == "cuda" else 1
            resources:
                gpu=int(config["renderer"] == "cuda"),
                mem_mb=4000,
                runtime=120,
            params:
                root=root_of_output,
                clips=clips,
                renderer=config["renderer"],
                lease=lease(config["renderer"] == "cuda"),
            shell:
                "{params.lease}python {input.script} --truth --protocol {input.protocol} --root {params.root}"
                " --clips {params.clips} --threads {threads} --renderer {params.renderer} > {log} 2>&1"

        rule:
            name:
                f"render_{benchmark}_{number}"
            input:
                protocol=protocol(benchmark),
                records=expand(f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/aligned.json", clip=clips),
                assets=expand(f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/asset", clip=clips),
                script=script("render.py"),
                code=RENDERER,
            output:
                [kept("renders", f"results/{benchmark}/{{method}}/seed{{seed}}/{clip}/frames") for clip in clips],
            log:
                f"results/{benchmark}/logs/render/{{method}}-seed{{seed}}-{number}.log",
            benchmark:
                f"results/{benchmark}/logs/render/{{method}}-seed{{seed}}-{number}.tsv"
            conda:
                "../envs/render.yaml"
            threads: 4 if config["renderer"] == "cuda" else 1
            resources:
                gpu=int(config["renderer"] == "cuda"),
                mem_mb=4000,
                runtime=120,
            params:
                root=root_of_output,
                clips=clips,
                renderer=config["renderer"],
                lease=lease(config["renderer"] == "cuda"),
            shell:
                "{params.lease}python {input.script} --protocol {input.protocol} --root {params.root}"
                " --clips {params.clips} --threads {threads} --renderer {params.renderer} > {log} 2>&1"
