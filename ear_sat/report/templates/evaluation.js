"use strict";
// Pictures: a click shows them large.
const dialog = document.getElementById("zoom");
for (const image of document.querySelectorAll(".frame img")) {
  image.tabIndex = 0;
  const open = () => {
    const large = dialog.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    large.classList.toggle("square", image.parentElement.classList.contains("square"));
    dialog.querySelector("p").textContent = image.alt;
    dialog.showModal();
  };
  image.addEventListener("click", open);
  image.addEventListener("keydown", (event) => event.key === "Enter" && open());
}
if (dialog) dialog.addEventListener("click", () => dialog.close());

// The table of files: a click on a heading sorts.
for (const heading of document.querySelectorAll("#files th[data-sort]")) {
  heading.addEventListener("click", () => {
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column]?.dataset.value ?? row.cells[column]?.textContent ?? "";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // undefined values stay at the end
      const order = heading.dataset.sort === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows);
  });
}
