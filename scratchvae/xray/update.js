/* The update: what the optimizer computes for one weight, line by line. */

xray.update = async () => {
  const view = document.getElementById("update-table");
  if (view.querySelector("table")) return;
  const { columns, rows, dtype } = xray.data.update;
  const numbers = {};
  const choose = (label, onchange) => {
    const select = xray.element("select", { onchange });
    view.append(xray.element("label", {}, `${label} `, select));
    return select;
  };
  const parameter = choose("Parameter", () => showElements());
  const element = choose("Element", () => showNumbers());
  const note = xray.element("p");
  const body = xray.element("tbody");
  const titles = ["variable", "value", "made by"];
  const head = titles.map((text) => xray.element("th", { scope: "col" }, text));
  const table = xray.element("table", {}, xray.element("thead", {}, xray.element("tr", {}, ...head)), body);
  const scroll = { class: "scroll", tabindex: 0, role: "region", "aria-label": "The update of one weight" };
  view.append(note, xray.element("div", scroll, table));
  for (const name of Object.keys(rows)) parameter.append(xray.element("option", {}, name));

  async function showElements() {
    const row = rows[parameter.value];
    numbers[parameter.value] ??= await xray.unpack(row.numbers, dtype);
    const options = row.chosen.map((flat, k) =>
      xray.element("option", { value: k }, `[${xray.unravel(flat, row.shape).join(", ")}]`),
    );
    element.replaceChildren(...options);
    element.value = row.chosen.indexOf(row.largest);
    const size = row.shape.reduce((a, b) => a * b, 1);
    note.textContent =
      row.chosen.length < size
        ? `${row.chosen.length} of ${size.toLocaleString("en")} elements are here, among them those with the largest gradients.`
        : "";
    showNumbers();
  }

  function showNumbers() {
    const k = Number(element.value) * columns.length;
    const row = numbers[parameter.value];
    body.replaceChildren(
      ...columns.map(([name, text], c) =>
        xray.element(
          "tr", {}, xray.element("th", { scope: "row" }, name),
          xray.element("td", {}, xray.text(row[k + c], dtype)),
          xray.element("td", {}, xray.element("code", {}, text)),
        ),
      ),
    );
  }
  await showElements();
};
