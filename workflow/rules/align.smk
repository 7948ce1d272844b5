# Validate each asset whole and bring it into the world by one similarity a clip.
for benchmark in BENCHMARKS:
    for number, clips in enumerate(batches(benchmark)):
        # What an alignment that searches looks at, beside the asset: the true surface, or the input.
        option, path, searcher = {
            "icp-frame0": (f"--truth results/{benchmark}/truth", f"results/{benchmark}/truth/{{clip}}/asset", []),
            "silhouette-view0": (
                f"--inputs results/{benchmark}/clips",
                f"results/{benchmark}/clips/{{clip}}",
                RENDERER + sources("bench4d/silhouette_align.py"),
            ),
        }.get(BENCHMARKS[benchmark].data["alignment"], ("", "", []))

        rule:
            name:
                f"align_{benchmark}_{number}"
            input:
                protocol=protocol(benchmark),
                records=expand(
                    f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/generate.json", clip=clips
                ),
                assets=expand(f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/asset", clip=clips),
                reference=expand(path, clip=clips) if path else [],
                script=script("align.py"),
                code=ALIGNER + searcher,
            output:
                expand(f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/aligned.json", clip=clips),
            log:
                f"results/{benchmark}/logs/align/{{method}}-seed{{seed}}-{number}.log",
            benchmark:
                f"results/{benchmark}/logs/align/{{method}}-seed{{seed}}-{number}.tsv"
            conda:
                "../envs/render.yaml"
            threads: 1
            resources:
                mem_mb=4000,
                runtime=60,
            params:
                root=root_of_output,
                clips=clips,
                reference=option,
            shell:
                "python {input.script} --protocol {input.protocol} --root {params.root} --clips {params.clips}"
                " {params.reference} > {log} 2>&1"
