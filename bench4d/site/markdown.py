"""The Markdown of this repository's documents as HTML: headings, paragraphs, lists, tables, code, emphasis, links.

Everything is escaped first; raw HTML in a text stays text. Links lead to the web or, as `links` says, to other pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup, escape

ITEM = re.compile(r"(\s*)([-*]|\d+\.)\s+(.*)")
INLINE = re.compile(r"(`+)(.+?)\1|\*\*(.+?)\*\*|(?<![\w*])\*([^*\s][^*]*?)\*(?![\w*])|!?\[([^\]]*)\]\(([^)\s]+)\)")
Links = Callable[[str], str | None]


def nowhere(target: str) -> str | None:
    return None


def html(text: str, links: Links = nowhere, top: int = 2) -> Markup:
    """`top`: the level of a document's largest heading.

    >>> html("# A <b>\\n\\n- x `y`\\n- [z](https://a.b) [q](q.md)")
    Markup('<h2>A &lt;b&gt;</h2>\\n<ul>\\n<li>x <code>y</code></li>\\n<li><a href="https://a.b">z</a> q</li>\\n</ul>')
    """
    return Markup("\n").join(_blocks(text.replace("\r\n", "\n").split("\n"), links, top))


def _blocks(lines: list[str], links: Links, top: int) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.lstrip().startswith("```"):
            end = next((k for k in range(at + 1, len(lines)) if lines[k].lstrip().startswith("```")), len(lines))
            yield Markup("<pre><code>%s</code></pre>") % "\n".join(lines[at + 1 : end])
            at = end + 1
        elif heading := re.fullmatch(r"(#{1,6})\s+(.*)", line):
            level = min(6, len(heading[1]) + top - 1)
            yield Markup("<h%d>%s</h%d>") % (level, inline(heading[2], links), level)
            at += 1
        elif line.lstrip().startswith("|"):
            end = _end(lines, at, lambda text: text.lstrip().startswith("|"))
            yield _table(lines[at:end], links)
            at = end
        elif ITEM.fullmatch(line):
            end = _end(
                lines, at, lambda text: bool(ITEM.fullmatch(text)) or (text.startswith(" ") and bool(text.strip()))
            )
            yield _list(lines[at:end], links)
            at = end
        else:
            end = _end(
                lines,
                at,
                lambda text: bool(text.strip()) and not re.match(r"#{1,6}\s|\s*```|\s*\||\s*[-*]\s|1\. ", text),
            )
            end = max(end, at + 1)
            yield Markup("<p>%s</p>") % inline(" ".join(part.strip() for part in lines[at:end]), links)
            at = end


def _end(lines: Sequence[str], start: int, belongs: Callable[[str], bool]) -> int:
    return next((k for k in range(start + 1, len(lines)) if not belongs(lines[k])), len(lines))


def _list(lines: Sequence[str], links: Links) -> Markup:
    """Items with their continued lines; nested items stand in a list of their own."""
    head = ITEM.fullmatch(lines[0])
    assert head is not None
    depth, tag = len(head[1]), "ol" if head[2][0].isdigit() else "ul"
    items: list[list[str]] = []
    for line in lines:
        found = ITEM.fullmatch(line)
        if found and len(found[1]) <= depth:
            items.append([found[3]])
        else:
            items[-1].append(line)
    return Markup("<{0}>\n{1}\n</{0}>").format(tag, Markup("\n").join(_item(item, links) for item in items))


def _item(lines: Sequence[str], links: Links) -> Markup:
    nested = next((k for k, line in enumerate(lines) if k and ITEM.fullmatch(line)), len(lines))
    text = inline(" ".join(line.strip() for line in lines[:nested]), links)
    return Markup("<li>%s%s</li>") % (text, _list(lines[nested:], links) if nested < len(lines) else "")


def _table(lines: Sequence[str], links: Links) -> Markup:
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines]
    body = [row for row in rows[1:] if not all(re.fullmatch(r"\s*:?-*:?\s*", cell) for cell in row)]
    head = Markup("").join(
        Markup('<th scope="col" class="text">%s</th>') % inline(cell.strip(), links) for cell in rows[0]
    )
    cells = Markup("\n").join(
        Markup("<tr>%s</tr>")
        % Markup("").join(Markup('<td class="text">%s</td>') % inline(c.strip(), links) for c in row)
        for row in body
    )
    table = Markup(
        '<div class="wide" tabindex="0"><table><thead><tr>%s</tr></thead><tbody>\n%s\n</tbody></table></div>'
    )
    return table % (head, cells)


def inline(text: str, links: Links = nowhere) -> Markup:
    """Code, strong, emphasis and links of one paragraph."""
    parts, at = [], 0
    for found in INLINE.finditer(text):
        parts.append(_plain(text[at : found.start()]))
        at = found.end()
        _, code, strong, emphasis, label, target = found.groups()
        if code is not None:
            parts.append(Markup("<code>%s</code>") % code)
        elif strong is not None:
            parts.append(Markup("<strong>%s</strong>") % inline(strong, links))
        elif emphasis is not None:
            parts.append(Markup("<em>%s</em>") % inline(emphasis, links))
        else:
            where = target if re.match(r"https?://", target) else links(target)
            parts.append(Markup('<a href="%s">%s</a>') % (where, inline(label)) if where else inline(label))
    return Markup("").join([*parts, _plain(text[at:])])


def _plain(text: str) -> Markup:
    return escape(re.sub(r"\\([\\`*_{}\[\]<>#|&~$!.-])", r"\1", text))


def linked(text: str) -> Markup:
    """Plain text in which web addresses are links.

    >>> linked("A <b>, https://arxiv.org/abs/2512.14284.")
    Markup('A &lt;b&gt;, <a href="https://arxiv.org/abs/2512.14284">https://arxiv.org/abs/2512.14284</a>.')
    """
    parts = re.split(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)])", text)
    return Markup("").join(
        Markup('<a href="{0}">{0}</a>').format(part) if k % 2 else escape(part) for k, part in enumerate(parts)
    )
