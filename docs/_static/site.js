// What the theme leaves to a reader of screens, and to the keyboard: names of switches, and regions that scroll.
document.addEventListener("DOMContentLoaded", () => {
  for (const toggle of document.querySelectorAll("summary > .toctree-toggle")) {
    const page = toggle.closest("li")?.querySelector("a")?.textContent.trim();
    toggle.parentElement.setAttribute("aria-label", page ? `Pages below ${page}` : "Pages below");
  }
  for (const list of document.querySelectorAll("dt.sig dl")) {  // a signature in lines is no list of definitions
    list.setAttribute("role", "presentation");
    for (const line of list.children) line.setAttribute("role", "presentation");
  }
  for (const link of document.querySelectorAll(".sphx-glr-thumbcontainer a")) {  // its text is hidden below the picture
    link.setAttribute("aria-label", link.textContent.trim());
  }
  for (const region of document.querySelectorAll(".bd-article table, .bd-article .formula, .bd-article pre")) {
    region.tabIndex = 0;
  }
});
