/* Walking: the address says what is shown. "#map" is a view; "#conv1/backward/3" is the fourth line
   that runs in the backward of conv1. The arrow keys and the slider go along all lines. */

xray.walk = { at: 0, onMap: 0 }; // the stop, and how far the map is scrolled

xray.walk.address = ([scope, direction, k]) => `#${scope}/${direction}/${k}`;
xray.walk.positions = new Map(
  xray.data.stops.map((stop, position) => [xray.walk.address(stop), position]),
);

xray.walk.to = (position) => {
  const last = xray.data.stops.length - 1;
  return xray.walk.address(xray.data.stops[Math.min(Math.max(position, 0), last)]);
};
xray.walk.go = (position) => (location.hash = xray.walk.to(position));

/* Show what the address says. */
xray.walk.show = () => {
  const address = xray.walk.read();
  const [name, second, third] = address.slice(1).split("/");
  const stop = xray.walk.positions.get(address);
  const view =
    document.getElementById(name === "source" ? `source/${second}` : `section-${name}`) ??
    document.getElementById(["map", "proof", "help"].includes(name) ? name : "map");
  const before = document.querySelector(".view:not([hidden])");
  if (before.id === "map") xray.walk.onMap = scrollY;
  for (const each of document.querySelectorAll(".view")) each.hidden = each !== view;
  for (const link of document.querySelectorAll("header nav a"))
    link.classList.toggle("here", link.hash.slice(1).split("/")[0] === name);
  xray.view.draw(view);
  if (view.id === "map") xray.map.draw();
  if (view.querySelector("#update-table")) xray.update().then(() => xray.walk.scroll(view));
  if (Object.hasOwn(xray.data.ops, name)) xray.why(name, second);
  document.getElementById("tensor").close();
  if (view !== before) {
    const heading = view.querySelector("h2"); // where a screen reader goes on
    heading.focus({ preventScroll: true });
    document.title = `${heading.textContent.trim()} · ${document.querySelector("h1").textContent}`;
    scrollTo(0, view.id === "map" ? xray.walk.onMap : 0);
  }
  for (const each of document.querySelectorAll(".current")) each.classList.remove("current");
  if (stop !== undefined) xray.walk.mark(view, second, third, stop);
  if (name === "source") document.getElementById(address.slice(1))?.scrollIntoView();
  document.querySelector(".walk").classList.toggle("idle", stop === undefined);
};

/* The address of the page, without the escapes of a browser; the map's if it is no text. */
xray.walk.read = () => {
  try {
    return decodeURIComponent(location.hash) || "#map";
  } catch {
    return "#map";
  }
};

/* The line of a stop: highlight it, and say in the bar below which one it is. */
xray.walk.mark = (view, direction, k, position) => {
  xray.walk.at = position;
  const side = view.querySelector(`.side[data-direction="${direction}"]`);
  const rows = side.querySelectorAll(`[data-stops~="${k}"]`);
  for (const each of [...rows, ...side.querySelectorAll(`[data-stop="${k}"]`)])
    each.classList.add("current");
  xray.walk.scroll(view);
  xray.walk.slider.value = position;
  const text = [...rows].map((row) => row.querySelector("code").textContent.trim()).join(" ");
  const { length } = xray.data.stops;
  const where = [...new Set([view.dataset.name, direction])].join(", ");
  xray.walk.says.textContent = `${position + 1} of ${length}: ${where}`;
  xray.walk.line.textContent = text;
};

xray.walk.scroll = (view) =>
  view.querySelector("li.current")?.scrollIntoView({ block: "nearest" });

/* The bar at the bottom. */
xray.walk.start = () => {
  const bar = document.querySelector(".walk");
  const step = (by) => () => xray.walk.go(xray.walk.at + by);
  xray.walk.slider = xray.element("input", {
    type: "range", min: 0, max: xray.data.stops.length - 1, value: 0, "aria-label": "Line of the step",
    oninput: (event) => location.replace(xray.walk.to(Number(event.target.value))),
  });
  xray.walk.says = xray.element("span", { class: "says", "aria-live": "polite" }, "Press → to walk through the step, line by line");
  xray.walk.line = xray.element("code", {});
  bar.append(
    xray.element("button", { type: "button", "aria-label": "Line before", onclick: step(-1) }, "←"),
    xray.element("button", { type: "button", "aria-label": "Next line", onclick: step(1) }, "→"),
    xray.walk.slider, xray.walk.says, xray.walk.line,
  );
};

/* The next function, or with -1 the one before: the first stop with another section or direction. */
xray.walk.function = (by) => {
  const { stops } = xray.data;
  const same = (k) => stops[k][0] === stops[xray.walk.at][0] && stops[k][1] === stops[xray.walk.at][1];
  let position = xray.walk.at;
  while (stops[position + by] && same(position)) position += by;
  xray.walk.go(position);
};

xray.walk.key = (event) => {
  const elsewhere = "input, select, textarea, dialog, canvas";
  if (event.defaultPrevented || event.target.closest?.(elsewhere)) return;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const here = xray.walk.positions.get(xray.walk.read()); // the view may not be drawn yet
  const walking = here !== undefined;
  xray.walk.at = here ?? xray.walk.at;
  const actions = {
    ArrowRight: () => xray.walk.go(walking ? here + 1 : xray.walk.at),
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

/* "Walk" goes on where the reader was. */
document.getElementById("walk").addEventListener("click", (event) => {
  event.preventDefault();
  xray.walk.go(xray.walk.at);
});

history.scrollRestoration = "manual";
xray.walk.start();
xray.view.theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").addEventListener("click", () =>
  xray.view.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.tensor");
  if (button) xray.view.open(button);
});
addEventListener("keydown", xray.walk.key);
addEventListener("hashchange", xray.walk.show);
xray.walk.show();
