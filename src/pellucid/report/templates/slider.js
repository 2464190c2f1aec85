for (const slide of document.querySelectorAll(".slide")) {
  const data = JSON.parse(slide.querySelector(".slide-data").textContent);
  const find = (name) => slide.querySelector(name);
  const chosen = find(".slide-class"), size = find(".slide-rho"), change = find(".slide-change");
  const message = find(".slide-size"), play = find(".slide-play"), columns = slide.querySelectorAll(".slide-column");
  const show = () => {
    const at = +size.value, which = +chosen.value, name = data.explained[which];
    const rho = at ? data.rhos[at - 1] : "0";
    message.textContent = rho;
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
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    play.textContent = "Stop";
    if (+size.value === data.rhos.length) size.value = 0;
    timer = setInterval(() => {
      size.value = +size.value + 1;
      show();
      if (+size.value === data.rhos.length) stop();
    }, data.pause);
    show();
  });
  for (const control of [chosen, size, change]) control.addEventListener("input", () => { stop(); show(); });
  size.value = data.start;
  show();
}
