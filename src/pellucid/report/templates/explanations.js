const images = [...document.querySelectorAll(".explained")], filters = [...document.querySelectorAll("select")];
const show = () => {
  let left = 0;
  for (const image of images) {
    image.hidden = !filters.every((f) => !f.value || image.dataset[f.name].split("\n").includes(f.value));
    left += !image.hidden;
  }
  document.querySelector("output").textContent = left + " of " + images.length;
};
for (const filter of filters) filter.addEventListener("input", show);
show();
