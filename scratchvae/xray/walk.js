/* Walking: the address says what is shown. "#map" is a view; "#conv1/backward/3" is the fourth line
   that runs in the backward of conv1. The arrow keys and the slider go along all lines. */

xray.walk = { at: 0 };

xray.walk.address = ([place, direction, k]) => `#${place}/${direction}/${k}`;
xray.walk.positions = new Map(
  xray.data.stops.map((stop, position) => [xray.walk.address(stop), position]),
);

xray.walk.go = (position) => {
  const last = xray.data.stops.length - 1;
  location.hash = xray.walk.address(xray.data.stops[Math.min(Math.max(position, 0), last)]);
};

/* Show what the address says. */
xray.walk.show = () => {
  const address = decodeURIComponent(location.hash) || "#map";
  const [name, second, third] = address.slice(1).split("/");
  const wanted = xray.walk.positions.get(address);
  const view =
    document.getElementById(name === "source" ? `source/${second}` : `place-${name}`) ??
    document.getElementById(["map", "proof", "help"].includes(name) ? name : "map");
  for (const each of document.querySelectorAll(".view")) each.hidden = each !== view;
  for (const link of document.querySelectorAll("header nav a"))
    link.classList.toggle("here", link.hash.slice(1).split("/")[0] === name);
  xray.walk.draw(view);
  for (const row of document.querySelectorAll(".current")) row.classList.remove("current");
  if (view.id === "map") xray.map.draw();
  if (name === "update") xray.update();
  if (name in xray.data.ops) xray.why(name);
  if (wanted !== undefined) xray.walk.mark(view, second, third, wanted);
  else if (name === "source") document.getElementById(address.slice(1))?.scrollIntoView();
  else scrollTo(0, 0);
  document.querySelector(".walk").classList.toggle("idle", wanted === undefined);
};

/* The line of a stop: highlight it, and say in the bar below which one it is. */
xray.walk.mark = (view, direction, k, position) => {
  xray.walk.at = position;
  const rows = view.querySelectorAll(
    `[data-direction="${direction}"] [data-stops~="${k}"]`,
  );
  for (const row of rows) row.classList.add("current");
  rows[0].scrollIntoView({ block: "center" });
  xray.walk.slider.value = position;
  const text = [...rows].map((row) => row.querySelector("code").textContent.trim()).join(" ");
  const { length } = xray.data.stops;
  const where = [...new Set([view.dataset.name, direction])].join(", ");
  xray.walk.says.textContent = `${position + 1} of ${length}: ${where}`;
  xray.walk.line.textContent = text;
};

/* Give the pictures of a view to the browser, which draws only what is shown. */
xray.walk.draw = (view) => {
  for (const holder of view.querySelectorAll("[data-tensor]")) {
    const about = xray.tensors[holder.dataset.tensor];
    const image = holder.querySelector("img");
    if (image.src || image.hidden) continue;
    if (about.picture) image.src = about.picture;
    else image.hidden = true;
    const facts = holder.querySelector(".facts");
    if (facts) facts.append(...xray.walk.brief(about));
    else holder.append(xray.element("span", { class: "shape" }, xray.walk.size(about)));
    if (about.bad) holder.classList.add("bad");
  }
};

/* On the map: shape and facts, each on a line. */
xray.walk.brief = (about) => {
  const texts = about.value === undefined ? [xray.shape(about.shape)] : [];
  return [...texts, ...xray.facts(about)].map((text) => xray.element("span", {}, text));
};

xray.walk.size = (about) =>
  about.value === undefined ? xray.shape(about.shape) : xray.text(about.value, about.dtype);

/* A click on an array opens a box with a large picture and what is known of it. */
xray.walk.open = async (button) => {
  const about = xray.tensors[button.dataset.tensor];
  const dialog = document.getElementById("tensor");
  const name = button.querySelector("b").textContent;
  const first = about.first ?? [];
  dialog.replaceChildren(
    xray.element("form", { method: "dialog" }, xray.element("button", { "aria-label": "Close" }, "×")),
    xray.element("h2", { id: "tensor-title" }, `${name} ${xray.shape(about.shape)} ${about.dtype}`),
  );
  if (about.picture) dialog.append(xray.element("img", { src: about.picture, alt: `picture of ${name}` }));
  dialog.append(xray.element("p", {}, xray.facts(about).join(", ")));
  if (first.length) {
    const numbers = xray.element("code", {}, first.join(", "));
    dialog.append(xray.element("p", {}, "It begins with ", numbers));
  }
  dialog.showModal();
};

/* The bar at the bottom. */
xray.walk.start = () => {
  const bar = document.querySelector(".walk");
  const step = (by) => () => xray.walk.go(xray.walk.at + by);
  xray.walk.slider = xray.element("input", {
    type: "range", min: 0, max: xray.data.stops.length - 1, value: 0, "aria-label": "Line of the step",
    oninput: (event) => xray.walk.go(Number(event.target.value)),
  });
  xray.walk.says = xray.element("span", { class: "says", "aria-live": "polite" }, "Press → to walk through the step, line by line");
  xray.walk.line = xray.element("code", {});
  bar.append(
    xray.element("button", { type: "button", "aria-label": "Line before", onclick: step(-1) }, "←"),
    xray.element("button", { type: "button", "aria-label": "Next line", onclick: step(1) }, "→"),
    xray.walk.slider, xray.walk.says, xray.walk.line,
  );
};

/* The next function, or with -1 the one before: the first stop with another place or direction. */
xray.walk.function = (by) => {
  const { stops } = xray.data;
  const same = (k) => stops[k][0] === stops[xray.walk.at][0] && stops[k][1] === stops[xray.walk.at][1];
  let position = xray.walk.at;
  while (stops[position + by] && same(position)) position += by;
  xray.walk.go(position);
};

xray.walk.key = (event) => {
  const elsewhere = "input:not([type=range]), select, textarea, dialog, canvas, [data-keys]";
  if (event.defaultPrevented || event.target.closest?.(elsewhere)) return;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const walking = !document.querySelector(".walk.idle");
  const actions = {
    ArrowRight: () => xray.walk.go(walking ? xray.walk.at + 1 : xray.walk.at),
    ArrowLeft: () => xray.walk.go(xray.walk.at - 1),
    Escape: () => (location.hash = "#map"),
  };
  if (walking) {
    actions.ArrowDown = () => xray.walk.function(1);
    actions.ArrowUp = () => xray.walk.function(-1);
    actions.Home = () => xray.walk.go(0);
    actions.End = () => xray.walk.go(xray.data.stops.length - 1);
  }
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
};

/* Light and dark: as the system has it, until the reader chooses. */
xray.walk.theme = (theme) => {
  document.documentElement.dataset.theme = theme;
  if (!document.getElementById("map").hidden) xray.map.draw();
};

xray.walk.start();
xray.walk.theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").addEventListener("click", () =>
  xray.walk.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.tensor");
  if (button) xray.walk.open(button);
});
addEventListener("keydown", xray.walk.key);
addEventListener("hashchange", xray.walk.show);
xray.walk.show();
