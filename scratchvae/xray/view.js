/* What a view shows: its pictures, the box of an array, light and dark. */

xray.view = {};

/* Give the pictures of a view to the browser, which draws only what is shown. */
xray.view.draw = (view) => {
  for (const holder of view.querySelectorAll("[data-tensor]:not(.drawn)")) {
    holder.classList.add("drawn");
    const about = xray.tensors[holder.dataset.tensor];
    for (const image of holder.querySelectorAll("img")) {
      const { picture } = xray.tensors[image.dataset.picture ?? holder.dataset.tensor];
      if (picture) image.src = picture;
      else image.hidden = true;
    }
    const facts = holder.querySelector(".facts");
    if (facts) facts.append(...xray.view.brief(about));
    else holder.append(xray.element("span", { class: "shape" }, xray.view.size(about)));
    if (about.bad) holder.classList.add("bad");
  }
};

/* On the map: shape and facts, each on a line. */
xray.view.brief = (about) => {
  const texts = about.value === undefined ? [xray.shape(about.shape)] : [];
  return [...texts, ...xray.facts(about)].map((text) =>
    xray.element("span", text.includes("±") ? { title: "mean ± standard deviation" } : {}, text),
  );
};

xray.view.size = (about) =>
  about.value === undefined ? xray.shape(about.shape) : xray.text(about.value, about.dtype);

/* A click on an array opens a box with a large picture and what is known of it. */
xray.view.open = (button) => {
  const about = xray.tensors[button.dataset.tensor];
  const dialog = document.getElementById("tensor");
  const name = button.querySelector("b").textContent;
  dialog.replaceChildren(
    xray.element("form", { method: "dialog" }, xray.element("button", { "aria-label": "Close" }, "×")),
    xray.element("h2", { id: "tensor-title" }, `${name} ${xray.shape(about.shape)} ${about.dtype}`),
  );
  if (about.picture) dialog.append(xray.element("img", { src: about.picture, alt: `picture of ${name}` }));
  dialog.append(xray.element("p", {}, xray.facts(about).join(", ")));
  if (about.first) {
    const numbers = xray.element("code", {}, about.first.join(", "));
    dialog.append(xray.element("p", {}, "It begins with ", numbers));
  }
  dialog.showModal();
};

/* Light and dark: as the system has it, until the reader chooses. */
xray.view.theme = (theme) => {
  document.documentElement.dataset.theme = theme;
  if (!document.getElementById("map").hidden) xray.map.draw();
};
