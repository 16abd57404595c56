/* Arrays as grids of coloured cells. The canvas of a grid has one pixel for each number, and the
   style sheet enlarges it; the SVG above it outlines the cells that are lit. */
{
  const POSITIVE = [214, 96, 22]; // as in tensors.py
  const NEGATIVE = [30, 98, 190];
  const WHITE = [247, 247, 247];
  const NOT_FINITE = [255, 0, 255];
  const LONGEST_ROW = 32; // a longer vector is wrapped into a square
  const WIDTH = 300; // of a grid, in pixels of the screen
  const LARGEST_CELL = 12;

  xray.range = (count) => [...Array(count).keys()];

  /* Between an index and the position in memory, row by row. */
  xray.ravel = (index, shape) => index.reduce((flat, i, axis) => flat * shape[axis] + i, 0);
  xray.unravel = (flat, shape) => {
    const index = [];
    for (const size of [...shape].reverse()) {
      index.unshift(flat % size);
      flat = Math.floor(flat / size);
    }
    return index;
  };

  /* An array of the page with its numbers, of all images or of the first. */
  xray.Tensor = class {
    constructor(name, k, numbers, key = name) {
      const about = xray.tensors[k];
      Object.assign(this, { name, key, numbers, dtype: about.dtype, shape: about.shape ?? [] });
      this.stored = about.stored ?? this.shape;
      this.signed = about.min < 0;
      this.most = Math.max(Math.abs(about.min ?? 0), Math.abs(about.max ?? 0)); // a number has none
    }

    value(index) {
      return Number(this.numbers[xray.ravel(index, this.stored)]);
    }

    /* One number, as a factor of a product. */
    at(...index) {
      return { tensor: this, name: this.name, index, value: this.value(index), exact: true };
    }

    /* The index of the largest number of the first image, in magnitude. */
    largest() {
      const count = this.numbers.length / (this.stored[0] ?? 1);
      let best = 0;
      for (let k = 0; k < count; k++)
        if (Math.abs(this.numbers[k]) > Math.abs(this.numbers[best])) best = k;
      return xray.unravel(best, this.stored);
    }
  };

  /* Where the numbers of an array are drawn. `fixed[axis]` is an index that all of them share. Of
     the other axes, if longer than 1, the last two are rows and columns of a tile, and the ones
     before count tiles. `chosen`: the tiles to draw, in this order. */
  xray.layout = (shape, fixed, chosen) => {
    const free = xray.range(shape.length).filter((axis) => !(axis in fixed) && shape[axis] > 1);
    const sizes = free.map((axis) => shape[axis]);
    const size = sizes.reduce((a, b) => a * b, 1);
    const length = sizes.at(-1) ?? 1;
    const wrapped = free.length === 1 && length > LONGEST_ROW;
    const W = wrapped ? Math.ceil(Math.sqrt(length)) : length;
    const H = wrapped ? Math.ceil(length / W) : (sizes.at(-2) ?? 1);
    const tiles = chosen ?? xray.range(Math.ceil(size / (H * W)));
    const columns = Math.ceil(Math.sqrt(tiles.length));
    const rows = Math.ceil(tiles.length / columns);
    const flat = (index) => xray.ravel(free.map((axis) => index[axis]), sizes);
    return {
      size,
      tiles: Math.ceil(size / (H * W)),
      width: columns * (W + 1) - 1,
      height: rows * (H + 1) - 1,
      tile: (index) => Math.floor(flat(index) / (H * W)),

      /* [column, row] of a number, or null if it is not drawn. */
      cell(index) {
        const position = tiles.indexOf(this.tile(index));
        const inside = flat(index) % (H * W);
        const [row, column] = [Math.floor(position / columns), position % columns];
        const x = column * (W + 1) + (inside % W);
        return position < 0 ? null : [x, row * (H + 1) + Math.floor(inside / W)];
      },

      /* The index of the number that is drawn there, or null in a gap. */
      index(x, y) {
        const [column, row] = [Math.floor(x / (W + 1)), Math.floor(y / (H + 1))];
        const [j, i] = [x - column * (W + 1), y - row * (H + 1)];
        const tile = tiles[row * columns + column];
        const position = (tile * H + i) * W + j;
        if (x < 0 || y < 0 || column >= columns || j === W || i === H) return null;
        if (tile === undefined || position >= size) return null;
        const index = xray.unravel(position, sizes);
        return shape.map((_, axis) => fixed[axis] ?? index[free.indexOf(axis)] ?? 0);
      },
    };
  };

  /* Blue to white to orange if there are negative numbers, otherwise black to white. */
  const colour = (value, { signed, most }) => {
    if (!Number.isFinite(value)) return NOT_FINITE;
    const t = Math.max(-1, Math.min(1, value / (most || 1)));
    if (!signed) return [t * 255, t * 255, t * 255];
    const end = t > 0 ? POSITIVE : NEGATIVE;
    return WHITE.map((white, k) => white + (end[k] - white) * Math.abs(t));
  };

  /* The outline of cells [x, y]: all of their sides that no other of the cells shares. */
  const outline = (cells) => {
    const lit = new Set(cells.map(String));
    const sides = [[0, -1, "h1"], [0, 1, "m0 1h1"], [-1, 0, "v1"], [1, 0, "m1 0v1"]];
    let path = "";
    for (const [x, y] of cells)
      for (const [dx, dy, side] of sides)
        if (!lit.has(`${x + dx},${y + dy}`)) path += `M${x} ${y}${side}`;
    return path;
  };

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  /* A grid. With `pick`, a reader can choose one of its numbers: pick(index). */
  xray.Grid = class {
    constructor(pick) {
      const svg = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
      this.pick = pick;
      const role = pick ? { tabindex: 0, role: "application" } : { role: "img" };
      this.canvas = xray.element("canvas", role);
      this.svg = svg("svg");
      this.path = svg("path");
      this.svg.append(this.path);
      this.svg.setAttribute("aria-hidden", "true");
      this.caption = xray.element("figcaption");
      this.hovered = xray.element("p", { class: "hovered", "aria-hidden": "true" });
      const cells = xray.element("div", { class: "cells" }, this.canvas, this.svg);
      this.figure = xray.element("figure", { class: "grid" }, this.caption, cells, this.hovered);
      const on = (type, react) => this.canvas.addEventListener(type, react);
      on("pointermove", (event) => this.point(event, event.buttons === 1));
      on("pointerleave", () => (this.hovered.textContent = ""));
      on("click", (event) => this.point(event, true));
      on("keydown", (event) => this.move(event));
    }

    /* Draw the numbers of an array in a layout, and light those of some indices. */
    show(array, layout, caption, lit) {
      Object.assign(this, { array, layout });
      const image = new ImageData(layout.width, layout.height);
      for (let y = 0; y < layout.height; y++)
        for (let x = 0; x < layout.width; x++) {
          const index = layout.index(x, y);
          const value = index ? array.value(index) : undefined;
          if (value !== undefined)
            image.data.set([...colour(value, array), 255], 4 * (y * layout.width + x));
        }
      Object.assign(this.canvas, { width: layout.width, height: layout.height });
      this.canvas.getContext("2d").putImageData(image, 0, 0);
      const cell = Math.max(1, Math.min(LARGEST_CELL, Math.floor(WIDTH / layout.width)));
      this.canvas.style.width = `${cell * layout.width}px`;
      this.svg.setAttribute("viewBox", `0 0 ${layout.width} ${layout.height}`);
      this.caption.replaceChildren(...caption);
      const cells = lit.map((index) => layout.cell(index)).filter(Boolean);
      this.chosen = cells[0];
      this.path.setAttribute("d", outline(cells));
      const says = this.pick ? "arrow keys choose a number" : `${cells.length} lit`;
      this.canvas.setAttribute("aria-label", `${this.caption.textContent}, ${says}`);
    }

    /* The mouse or a finger is on a number: write it below, or choose it. */
    point(event, chooses) {
      const { width, height } = this.canvas.getBoundingClientRect();
      const x = Math.floor((event.offsetX / width) * this.layout.width);
      const y = Math.floor((event.offsetY / height) * this.layout.height);
      const index = this.layout.index(x, y);
      const value = index ? this.array.value(index) : undefined;
      const { name, dtype } = this.array;
      this.hovered.textContent =
        value === undefined ? "" : `${name}[${index.join(", ")}] = ${xray.text(value, dtype)}`;
      if (index && chooses) this.pick?.(index);
    }

    /* An arrow key goes to the next number, also over the gap between two tiles. */
    move(event) {
      const [dx, dy] = ARROWS[event.key] ?? [];
      if (!this.pick || !this.chosen || dx === undefined) return;
      const [x, y] = this.chosen;
      const next = this.layout.index(x + dx, y + dy) ?? this.layout.index(x + 2 * dx, y + 2 * dy);
      if (next) this.pick(next);
      event.preventDefault();
    }
  };
}
