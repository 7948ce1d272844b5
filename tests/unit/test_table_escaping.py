"""Names and reasons that want to be more than text: in every format of a table they stay text."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from bench4d.table_formats import FORMATS
from tests.unit.test_tables import benchmark, method, rows, table_of

__all__ = ["benchmark"]  # a fixture

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    r"\input{/etc/passwd}",
    "50% of a_b & #c $d$ ~e ^f {g}",
    "a\nb\r\n\\end{tabular}\u2028c",
    "=HYPERLINK(1)",
    "red \x1b[31m and \x07 bell",
    "`code` [link](javascript:alert(1)) | cell ![i](x)",
]
TEX = {
    NAMES[0]: r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}",
    NAMES[2]: r"\textbackslash{}input\{/etc/passwd\}",
    NAMES[3]: r"50\% of a\_b \& \#c \$d\$ \textasciitilde{}e \textasciicircum{}f \{g\}",
    NAMES[4]: r"a b \textbackslash{}end\{tabular\} c",
}


class Page(HTMLParser):
    """All tags, all attributes' names, and all text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def made(benchmark, tmp_path, name, reason):
    methods = [method(tmp_path, name), method(tmp_path, "plain")]
    good, bad = rows("plain", [20] * 4, [0.1] * 4), rows(name, [20] * 4, [0.1] * 4, failed=("a",), reason=reason)
    return table_of(benchmark, methods, good, bad)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_reasons_stay_text(benchmark, tmp_path, name):
    plain, nasty = made(benchmark, tmp_path, "zzz", "boom"), made(benchmark, tmp_path, name, name)
    before, after = Page(FORMATS["html"](plain)), Page(FORMATS["html"](nasty))
    assert (after.tags, after.attributes) == (before.tags, before.attributes)
    assert after.text.count(" ".join(name.split())) + after.text.count(name) >= 1

    tex, lines = FORMATS["tex"](nasty), len(FORMATS["tex"](plain).splitlines())
    assert len(tex.splitlines()) == lines  # nothing broke out of a comment or a row
    assert TEX.get(name, "") in tex
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert code.count(r"\end{tabular}") == code.count(r"\begin{tabular}") and r"\input" not in code

    text = FORMATS["txt"](nasty)
    assert len(text.splitlines()) == len(FORMATS["txt"](plain).splitlines())
    assert all(c.isprintable() or c == "\n" for c in text)

    assert len(FORMATS["md"](nasty).splitlines()) == len(FORMATS["md"](plain).splitlines())
    assert not re.search(r"(?<!\\)(<script|<img|\]\()", FORMATS["md"](nasty))

    cells = [cell for line in csv.reader(io.StringIO(FORMATS["csv"](nasty))) for cell in line]
    assert not any(cell.startswith(("=", "@", "+")) for cell in cells)
