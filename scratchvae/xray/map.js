/* The map: the edges between the nodes, drawn where the browser has put the nodes. */

xray.map = {};

xray.map.draw = () => {
  const map = document.querySelector("#map .map");
  const svg = map.querySelector(".edges");
  xray.map.margin = parseFloat(getComputedStyle(map).paddingLeft) - 4;
  const frame = map.getBoundingClientRect();
  const box = (node) => {
    const { left, right, top, bottom } = node.getBoundingClientRect();
    return {
      left: left - frame.left, right: right - frame.left, top: top - frame.top,
      bottom: bottom - frame.top, middle: (left + right) / 2 - frame.left,
    };
  };
  svg.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  svg.replaceChildren();
  for (const node of map.querySelectorAll(".node"))
    for (const id of node.dataset.sources.split("|").filter(Boolean)) {
      const source = document.getElementById(id);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", xray.map.path(box(source), box(node), frame, source, node));
      path.setAttribute("class", node.classList.contains("backward") ? "backward" : "forward");
      svg.append(path);
    }
};

/* From a source to a node: straight to the next row; across at the turn of the U; down the lane of
   a branch and then across; and out into the margin where nodes of the same lane lie between. */
xray.map.path = (from, to, frame, source, node) => {
  const backward = node.classList.contains("backward");
  const middle = (box) => (box.top + box.bottom) / 2;
  const [y, z] = [middle(from), middle(to)];
  if (backward !== source.classList.contains("backward"))
    return `M${from.right} ${y}C${from.right + 40} ${y} ${to.left - 40} ${z} ${to.left} ${z}`;
  const [start, end] = backward ? [from.top, to.bottom] : [from.bottom, to.top];
  const sameLane = node.style.gridColumnStart === source.style.gridColumnStart;
  if (xray.map.near(source, node, sameLane)) {
    const half = (start + end) / 2;
    return `M${from.middle} ${start}C${from.middle} ${half} ${to.middle} ${half} ${to.middle} ${end}`;
  }
  if (!sameLane && backward)
    return `M${from.left} ${y}H${to.middle + 16}Q${to.middle} ${y} ${to.middle} ${y - 16}V${end}`;
  if (!sameLane)
    return `M${from.middle} ${start}V${z - 16}Q${from.middle} ${z} ${from.middle - 16} ${z}H${to.right}`;
  const out = xray.map.margin * (0.3 + 0.6 * Math.min(1, Math.abs(end - start) / frame.height));
  const [side, there] = backward ? [from.right, to.right] : [from.left, to.left];
  const x = backward ? Math.max(side, there) + out : Math.min(side, there) - out;
  const bend = Math.sign(z - y) * 24;
  return `M${side} ${y}C${x} ${y} ${x} ${y} ${x} ${y + bend}V${z - bend}C${x} ${z} ${x} ${z} ${there} ${z}`;
};

/* Whether nothing lies between two nodes of a lane; of different lanes, whether they are close. */
xray.map.near = (source, node, sameLane) => {
  const row = (each) => Number(each.style.gridRowStart);
  const [first, last] = [row(source), row(node)].sort((a, b) => a - b);
  if (!sameLane) return last - first <= 3;
  return ![...document.querySelectorAll("#map .node")].some(
    (each) =>
      each.style.gridColumnStart === node.style.gridColumnStart &&
      first < row(each) && row(each) < last,
  );
};

addEventListener("resize", () => document.getElementById("map").hidden || xray.map.draw());
