"""The Python of every page in docs/ runs, and prints what the page shows."""

from __future__ import annotations

import pytest

from support import pages


@pytest.mark.parametrize("page", pages.with_python(), ids=lambda page: page.relative_to(pages.ROOT).as_posix())
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where examples keep their files
    monkeypatch.setenv("MPLBACKEND", "Agg")  # windows of pictures wait for nobody
    for example in pages.examples(page):
        example.evaluate()


@pytest.mark.parametrize(("shown", "right"), [("3\n4", True), ("3\n5", False), ("...\n4", True), ("", False)])
def test_what_is_shown_is_what_is_printed(tmp_path, shown, right):
    page = tmp_path / "page.md"
    page.write_text(f"```python\nx = 3\n```\n\nWords.\n\n```text\nnot printed\n```\n\n"
                    f"```python\nprint(x)\nprint(x + 1)\n```\n\n```text\n{shown}\n```\n", encoding="utf-8")  # fmt: skip

    def run():
        for example in pages.examples(page):
            example.evaluate()

    if right:
        run()
    else:
        with pytest.raises(AssertionError, match="printed"):
            run()
