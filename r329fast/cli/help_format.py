"""Help texts as wide as the terminal, with the paragraphs, lists and indents that they have."""

from __future__ import annotations

import argparse
import re
import textwrap

_TERM = re.compile(r"\s*\S+(?: \S+)*?  +(?=\S)")  # what a line of a list explains, and the gap


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Lines of one indent are a paragraph; one with a gap in it begins an item of a list, whose
    further lines stand below the text behind the gap."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks: list[tuple[int, list[str]]] = []  # (indent of the lines after the first, lines)
        for line in text.splitlines():
            own = len(line) - len(line.lstrip())
            term = _TERM.match(line)
            if blocks and line.strip() and not term and blocks[-1][0] == own:
                blocks[-1][1].append(line.strip())
            else:
                blocks.append((term.end() if term else own if line.strip() else -1, [line]))
        return "".join(_filled(lines, hang, width, indent) + "\n" for hang, lines in blocks)


def _filled(lines: list[str], hang: int, width: int, indent: str) -> str:
    first = lines[0].rstrip()
    if len(lines) == 1 and len(indent + first) <= width:
        return indent + first
    return textwrap.fill(
        # a gap stays as it is: it is not where a line may end
        " ".join([re.sub(r"(?<=\S)  +", lambda gap: "\N{NO-BREAK SPACE}" * len(gap[0]), first),
                  *lines[1:]]),
        width, initial_indent=indent, subsequent_indent=indent + " " * max(hang, 0),
        drop_whitespace=True, break_long_words=False, break_on_hyphens=False,
    ).replace("\N{NO-BREAK SPACE}", " ")  # fmt: skip
