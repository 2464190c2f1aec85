const images = [...document.querySelectorAll(".explained")], filters = [...document.querySelectorAll("select")];
const show = () => {
  const left = new Set();
  for (const image of images) {
    image.hidden = !filters.every((f) => !f.value || image.dataset[f.name].split("\n").includes(f.value));
    if (!image.hidden) left.add(image.dataset.image);
  }
  document.querySelector("output").textContent = left.size + " of " + new Set(images.map((image) => image.dataset.image)).size;
};
for (const filter of filters) filter.addEventListener("input", show);
show();
