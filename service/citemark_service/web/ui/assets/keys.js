// j and k follow the links to the next and previous sample or step; the links themselves suffice.
"use strict";
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const rel = { j: "next", k: "prev" }[event.key];
  const link = rel && document.querySelector(`.pager a[rel="${rel}"]`);
  if (link) link.click();
});
