# What a method may see, and apart from it the truth.
def clip_truth(wildcards, output):
    return str(Path(output.truth).parent)


# What decides a clip: the benchmark's code and lists, and what reads and lights models.
def clip_code(folder):
    shared = sources("bench4d/gltf*.py", "benchmarks/synth4d/shading.py", "benchmarks/menagerie/moving.py")
    return sorted({*sources(f"benchmarks/{folder}/*.py", f"benchmarks/{folder}/*.csv"), *shared})


for benchmark in BENCHMARKS:

    rule:
        name:
            f"clip_{benchmark}"
        input:
            protocol=protocol(benchmark),
            program=relative(BENCHMARKS[benchmark].path.parent / "build.py"),
            code=clip_code(BENCHMARKS[benchmark].path.parent.name) + RENDERER,
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
