for (const slide of document.querySelectorAll(".slide")) {
  const data = JSON.parse(slide.querySelector(".slide-data").textContent);
  const find = (name) => slide.querySelector(name);
  const chosen = find(".slide-class"), size = find(".slide-rho"), change = find(".slide-change");
  const told = find(".slide-size"), columns = slide.querySelectorAll(".slide-column");
  const show = () => {
    const at = +size.value, which = +chosen.value, name = data.explained[which];
    const rho = at ? data.rhos[at - 1] : "0";
    told.textContent = rho;
    size.setAttribute("aria-valuetext", at ? rho : "0: the image itself");
    columns.forEach((column, i) => {
      const of = data.columns[i], state = at ? of.classes[which][at - 1] : null;
      const image = column.querySelector(".slide-image");
      image.src = change.checked ? (state ? state.change : data.none) : (state ? state.image : data.image);
      const words = !state ? "the image itself" : change.checked
        ? "difference from the image, for " + name + ", RMS " + state.rms : "moved for " + name + ", RMS " + state.rms;
      column.querySelector(".slide-told").textContent = words;
      image.alt = data.title + ": " + words + (of.label ? " (" + of.label + ")" : "");
      column.querySelectorAll(".slide-bars tr").forEach((row, k) => {
        row.querySelector("i").style.width = (state ? state.bars : of.bars)[k] + "%";
        row.querySelector(".slide-text").textContent = (state ? state.texts : of.texts)[k];
        row.classList.toggle("explained", k === data.rows[which]);
      });
    });
    slide.dataset.at = at;
  };
  for (const control of [chosen, size, change]) control.addEventListener("input", show);
  show();
}
