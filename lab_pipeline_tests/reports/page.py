"""Read a page as a browser's parser would, without a browser."""

from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class Page(HTMLParser):
    """Every element of a page, and what is wrong with its nesting.

    Attributes:
        elements: (tag, attributes) in document order.
        text: text outside of style, by the id of the innermost element that has one.
        problems: elements closed in the wrong place or never.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.words: list[str] = []
        self.problems: list[str] = []
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag, _ in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open[-1][0] != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes {self._open[-1:]}")
            return
        self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1][0] == "style":
            return
        self.words.append(data)
        name = next((name for _, name in reversed(self._open) if name), None)
        if name:
            self.text[name] = self.text.get(name, "") + data

    @property
    def said(self) -> str:
        """All text outside of style, whitespace collapsed."""
        return " ".join(" ".join(self.words).split())
