"use strict";
// Filters and sorts what already stands on the page. Without it every row and every figure is there, in its order.
(() => {
  const FIRST = 200;
  const fold = text => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const words = text => fold(text).split(/\s+/).filter(Boolean);
  const tell = (place, text) => { if (place.textContent !== text) place.textContent = text; };

  function explore(root) {
    const table = root.querySelector("table"), body = table.tBodies[0];
    const controls = root.querySelector("[data-controls]"), status = root.querySelector("[role=status]");
    const more = root.querySelector("[data-more]"), text = root.querySelector("[data-text]");
    const choices = [...controls.querySelectorAll("select[data-column]")];
    const rows = [...body.rows].map((row, place) => ({
      row, place, cells: [...row.cells].map(cell => cell.dataset.key ?? cell.textContent.trim()),
      found: fold(row.textContent),
    }));
    const heads = [...table.tHead.rows[0].cells];
    let sorted = null, all = false;

    const value = (entry, at) => {
      const own = entry.cells[at];
      return heads[at].dataset.sort === "number" ? (own === "" ? null : Number(own)) : own;
    };
    const order = (one, two) => {
      if (sorted === null) return one.place - two.place;
      const [a, b] = [value(one, sorted.at), value(two, sorted.at)];
      if (a === null || b === null) return a === b ? one.place - two.place : a === null ? 1 : -1;
      const least = typeof a === "number" ? a - b : a.localeCompare(b, "en");
      return sorted.down * least || one.place - two.place;
    };
    const draw = () => {
      const wanted = words(text.value);
      const kept = rows.filter(entry =>
        choices.every(each => each.value === "" || entry.cells[Number(each.dataset.column)] === each.value.slice(1)) &&
        wanted.every(word => entry.found.includes(word))).sort(order);
      const shown = all ? kept : kept.slice(0, FIRST);
      body.replaceChildren(...shown.map(entry => entry.row));
      more.hidden = shown.length === kept.length;
      const counted = kept.length === 1 ? "1 estimate" : `${kept.length.toLocaleString("en-GB")} estimates`;
      const cut = more.hidden ? "" : `, the first ${FIRST} are shown`;
      const by = sorted === null ? "" : `, sorted by ${heads[sorted.at].textContent.trim().toLowerCase()}, ${sorted.down > 0 ? "least" : "greatest"} first`;
      tell(status, `${counted}${cut}${by}.`);
    };

    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        sorted = { at, down: sorted?.at === at ? -sorted.down : 1 };
        heads.forEach(each => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sorted.down > 0 ? "ascending" : "descending");
        draw();
      });
    });
    for (const each of choices) each.addEventListener("change", draw);
    text.addEventListener("input", draw);
    more.addEventListener("click", () => { all = true; draw(); table.closest(".table").focus(); });
    root.querySelector("[data-clear]").addEventListener("click", () => {
      for (const each of choices) each.value = "";
      text.value = "";
      sorted = null;
      all = false;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      draw();
    });
    addEventListener("beforeprint", () => { all = true; draw(); });
    controls.hidden = false;
    draw();
  }

  function search(root) {
    const text = root.querySelector("[data-text]"), status = root.querySelector("[role=status]");
    const entries = [...root.querySelectorAll("li")].map(item => ({ item, found: fold(item.textContent) }));
    const groups = [...root.querySelectorAll("section")];
    const draw = () => {
      const wanted = words(text.value);
      let kept = 0;
      for (const { item, found } of entries) {
        item.hidden = !wanted.every(word => found.includes(word));
        kept += item.hidden ? 0 : 1;
      }
      for (const group of groups) group.hidden = !group.querySelector("li:not([hidden])");
      tell(status, wanted.length ? `${kept} of ${entries.length} entries.` : `${entries.length} entries.`);
    };
    text.addEventListener("input", draw);
    root.querySelector("[data-controls]").hidden = false;
    draw();
  }

  function gallery(root) {
    const choices = [...root.querySelectorAll("select[data-filter]")], status = root.querySelector("[role=status]");
    const plates = [...root.querySelectorAll("section")].map(plate => ({ plate, of: each => plate.dataset[each].split(" ") }));
    const draw = () => {
      let kept = 0;
      for (const { plate, of } of plates) {
        plate.hidden = !choices.every(each => each.value === "" || of(each.dataset.filter).includes(each.value));
        kept += plate.hidden ? 0 : 1;
      }
      tell(status, kept === plates.length ? `${kept} figures.` : `${kept} of ${plates.length} figures.`);
    };
    for (const each of choices) each.addEventListener("change", draw);
    root.querySelector("[data-clear]").addEventListener("click", () => {
      for (const each of choices) each.value = "";
      draw();
    });
    root.querySelector("[data-controls]").hidden = false;
    draw();
  }

  for (const root of document.querySelectorAll("[data-gallery]")) gallery(root);
  for (const root of document.querySelectorAll("[data-explorer]")) explore(root);
  for (const root of document.querySelectorAll("[data-search]")) search(root);
})();
