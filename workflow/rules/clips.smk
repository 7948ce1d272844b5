# What a method may see, and apart from it the truth.
def clip_truth(wildcards, output):
    return str(Path(output.truth).parent)


for benchmark in BENCHMARKS:

    rule:
        name:
            f"clip_{benchmark}"
        input:
            protocol=protocol(benchmark),
            program=relative(BENCHMARKS[benchmark].path.parent / "build.py"),
            code=sources(f"benchmarks/{BENCHMARKS[benchmark].path.parent.name}/*.py") + RENDERER,
        output:
            clip=directory(f"results/{benchmark}/clips/{{clip}}"),
            truth=directory(f"results/{benchmark}/truth/{{clip}}/asset"),
        log:
            f"results/{benchmark}/logs/clip/{{clip}}.log",
        benchmark:
            f"results/{benchmark}/logs/clip/{{clip}}.tsv"
        conda:
            "../envs/render.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            truth=clip_truth,
        shell:
            "python {input.program} --protocol {input.protocol} --clip {wildcards.clip}"
            " --clip-out {output.clip} --truth-out {params.truth} --threads {threads} > {log} 2>&1"
