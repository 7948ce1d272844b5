"""What is said where a file without a published checksum is missing."""

from __future__ import annotations

from bench4d.cli import main
from bench4d.features import weights_of
from bench4d.metric_loading import find_weights
from bench4d.weights import read_catalogue
from metrics import METRICS


def test_an_unpinned_file_that_is_missing_is_never_told_to_be_fetched(tmp_path, monkeypatch, capsys):
    """Explain, the empty cell's reason and verify name the folder; `weights list` the page; nothing a refused fetch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BENCH4D_WEIGHTS", raising=False)
    entries = {id: entry for id, entry in read_catalogue().items() if entry.sha256 is None}
    wanting = {id: m.id for m in METRICS.values() for id in weights_of(m) if id in entries}
    assert "i3d-400" in wanting
    for id, entry in ((id, entries[id]) for id in wanting):
        step = f"put {entry.file} into the folder that BENCH4D_WEIGHTS names; `bench4d weights list {id}`: from where"
        reason = find_weights([id], lambda text: None)[id]["reason"]
        assert reason == f"the weights {id} are not on this machine: {step}"
        assert main(["explain", wanting[id]]) == 0
        said = capsys.readouterr().out
        assert f"{id}, sha256 unpinned, not here" in said and step in said and f"weights fetch {id}" not in said
        assert main(["weights", "verify", id]) == 0 and step in capsys.readouterr().out
        assert main(["weights", "list", id]) == 0
        said = capsys.readouterr().out
        assert all(address in said for address in entry.by_hand)
    (tmp_path / entries["i3d-400"].file).write_bytes(b"put here")
    monkeypatch.setenv("BENCH4D_WEIGHTS", str(tmp_path))
    assert main(["explain", wanting["i3d-400"]]) == 0
    said = capsys.readouterr().out
    assert f"here: {tmp_path / entries['i3d-400'].file}" in said and "not here" not in said
