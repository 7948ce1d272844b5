# Validate each asset whole and bring it into the world by one similarity a clip.
for benchmark in BENCHMARKS:
    for number, clips in enumerate(batches(benchmark)):

        rule:
            name:
                f"align_{benchmark}_{number}"
            input:
                protocol=protocol(benchmark),
                records=expand(
                    f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/generate.json", clip=clips
                ),
                assets=expand(f"results/{benchmark}/{{{{method}}}}/seed{{{{seed}}}}/{{clip}}/asset", clip=clips),
                script=script("align.py"),
                code=ALIGNER,
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
            shell:
                "python {input.script} --protocol {input.protocol} --root {params.root} --clips {params.clips}"
                " > {log} 2>&1"
