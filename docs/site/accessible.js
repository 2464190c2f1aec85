/* The theme puts every code block's button into a landmark without a name: number them. The
   search is a dialog without one, and so is the landmark of a section that has a page of its
   own, whose label is an arrow: it takes the name of that page's link. What is larger than its
   place scrolls, tables and side bars, and the keyboard must reach it. */
const mend = () => {
  document.querySelectorAll("nav.md-code__nav").forEach((nav, i) => {
    const label = `Code block ${i + 1}`;
    if (nav.getAttribute("aria-label") !== label) nav.setAttribute("aria-label", label);
  });
  document.querySelectorAll('.md-search[role="dialog"]:not([aria-label])').forEach((box) => {
    box.setAttribute("aria-label", "Search");
  });
  document.querySelectorAll("nav[aria-labelledby]").forEach((nav) => {
    const label = document.getElementById(nav.getAttribute("aria-labelledby"));
    if (!label || label.textContent.trim()) return;
    nav.setAttribute("aria-label", label.parentElement.textContent.trim());
    nav.removeAttribute("aria-labelledby");
  });
  document.querySelectorAll(".md-typeset__scrollwrap, .md-sidebar__scrollwrap").forEach((box) => {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
addEventListener("load", mend);
addEventListener("resize", mend);
