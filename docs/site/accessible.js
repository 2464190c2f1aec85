/* The theme puts every code block's button into a landmark without a name: number them. */
const name = () => document.querySelectorAll("nav.md-code__nav").forEach((nav, i) => {
  const label = `Code block ${i + 1}`;
  if (nav.getAttribute("aria-label") !== label) nav.setAttribute("aria-label", label);
});
new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
