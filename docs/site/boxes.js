// A box that scrolls sideways in this window can be reached, and so scrolled, with the keyboard.
function reachBoxes() {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper, article div.cell_output, article p, article figure"))
    if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX == "auto") box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
addEventListener("load", reachBoxes);
addEventListener("resize", reachBoxes);
