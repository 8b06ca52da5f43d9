"""The checks of pages see what is wrong with a page."""

import base64

import pytest

from tests.browser import check_access, check_keyboard, check_whole, show

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title></head>
<body><main><h1>A page</h1><a href="#">a link</a> {} <button>a button</button></main></body></html>"""
SMALL = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 99 99'><text style='font: 12px serif'>a</text></svg>"


def shown(browser, folder, part):
    (folder / "page.html").write_text(PAGE.format(part))
    show(browser, (folder / "page.html").as_uri(), 400)


def test_a_sound_page_passes(browser, axe, tmp_path):
    shown(
        browser, tmp_path, "<p>text</p><div style='overflow: auto' tabindex='0'><p style='width: 900px'>wide</p></div>"
    )
    check_whole(browser)
    check_keyboard(browser)
    check_access(browser, axe)


@pytest.mark.parametrize(
    "part",
    [
        "<script>console.error('a message')</script>",
        "<img alt='from outside' src='https://example.org/a.png'>",
        "<img alt='missing' src='missing.png'>",
        "<p style='width: 900px'>wide</p>",
        "<div style='overflow: hidden'><p style='width: 900px'>wide and cut</p></div>",
        "<p style='font-size: 11px'>small</p>",
        "<img alt='small' width='50' src='data:image/svg+xml;base64," + base64.b64encode(SMALL).decode() + "'>",
    ],
)
def test_what_is_not_whole_is_seen(browser, tmp_path, part):
    shown(browser, tmp_path, part)
    with pytest.raises(AssertionError):
        check_whole(browser)


@pytest.mark.parametrize(
    "part",
    [
        "<a href='#' style='outline: none'>no ring</a>",
        "<a href='#' style='position: fixed; left: -900px'>out of sight</a>",
        "<a href='#' tabindex='5'>out of order</a>",
        "<input aria-label='trap' onkeydown='event.preventDefault()'>",
    ],
)
def test_what_the_keyboard_does_not_reach_is_seen(browser, tmp_path, part):
    shown(browser, tmp_path, part)
    with pytest.raises(AssertionError):
        check_keyboard(browser)


@pytest.mark.parametrize(
    "part",
    ["<p style='color: #aaa; background: #fff'>pale</p>", "<img src='a.png'>", "<input>", "<h2 role='button'></h2>"],
)
def test_what_few_can_use_is_seen(browser, axe, tmp_path, part):
    shown(browser, tmp_path, part)
    with pytest.raises(AssertionError):
        check_access(browser, axe)
