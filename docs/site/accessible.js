/* The theme puts every code block's button into a landmark without a name: number them. A table that is wider than its
   place scrolls, and the keyboard must reach it. */
const mend = () => {
  document.querySelectorAll("nav.md-code__nav").forEach((nav, i) => {
    const label = `Code block ${i + 1}`;
    if (nav.getAttribute("aria-label") !== label) nav.setAttribute("aria-label", label);
  });
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
addEventListener("load", mend);
addEventListener("resize", mend);
