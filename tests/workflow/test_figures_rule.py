"""The figure of differences as a part of the workflow."""

FIGURES = ("results/synth4d-tiny/differences.pdf", "results/synth4d-tiny/differences.png")


def test_a_run_draws_the_differences_to_the_method_that_config_names(tiny, tmp_path):
    checkout = tiny.copy(tmp_path / "bench4d")
    assert not any((checkout.root / path).exists() for path in FIGURES)  # nobody has asked for it
    checkout.configure(differences_to="inflate")
    assert checkout.planned() == {"figures_synth4d-tiny": 1}
    checkout.snakemake()
    assert [(checkout.root / path).read_bytes()[:4] for path in FIGURES] == [b"%PDF", b"\x89PNG"]


def test_a_method_that_does_not_run_is_an_error_in_words(tiny, tmp_path):
    checkout = tiny.copy(tmp_path / "bench4d")
    checkout.configure(differences_to="nobody")
    assert "differences_to: expected one of the methods" in checkout.snakemake(ok=False)
