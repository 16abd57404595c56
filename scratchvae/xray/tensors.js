"use strict";
/* The arrays of the page. `xray.data` is what page.py wrote; `xray.numbers(k)` unpacks array k. */

const xray = { data: JSON.parse(document.getElementById("data").textContent) };
xray.tensors = xray.data.tensors;

/* Unpacks text of packed in tensors.py: base64, deflate, and byte 0 of all numbers, then byte 1, ... */
xray.unpack = async (text, dtype) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const kind = kinds[dtype];
  const size = kind.BYTES_PER_ELEMENT;
  const count = planes.length / size;
  const inOrder = new Uint8Array(planes.length);
  for (let plane = 0; plane < size; plane++)
    for (let i = 0; i < count; i++) inOrder[i * size + plane] = planes[plane * count + i];
  return new kind(inOrder.buffer);
};
const kinds = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array };

/* The numbers of array k, in the order of its `stored` shape: all of them, or those of the first
   image of the batch. A promise; null if the page does not have them. */
xray.numbers = (k) => (unpacked[k] ??= unpackTensor(k));
const unpacked = [];
async function unpackTensor(k) {
  const about = xray.tensors[k];
  if (!("stored" in about)) return about.value === undefined ? null : [about.value];
  return xray.unpack(document.getElementById(`numbers-${k}`).textContent, about.dtype);
}

/* The shortest text that is this number and no other of its dtype, as Python prints it. */
xray.text = (number, dtype = "float32") => {
  if (!Number.isFinite(number) || dtype !== "float32") return `${number}`;
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(number.toPrecision(digits));
    if (Math.fround(short) === Math.fround(number)) return `${short}`;
  }
  return `${number}`;
};

xray.shape = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

/* What is said of an array, in a few short texts. */
xray.facts = (about) => {
  const short = (number) =>
    number && Math.abs(number) < 1e-3 ? number.toExponential(2) : Number(number.toPrecision(3));
  if (about.value !== undefined) return [xray.text(about.value, about.dtype)];
  const facts = [];
  if ("mean" in about) {
    facts.push(`${short(about.mean)} ± ${short(about.std)}`);
    facts.push(`${short(about.min)} to ${short(about.max)}`);
  }
  if (about.zeros) facts.push(`${(100 * about.zeros).toFixed(0)} % zeros`);
  if (about.dead) facts.push(`${about.dead} of ${about.shape[1]} dead`);
  if (about.bad) facts.push(`${about.bad} NaN or infinite`);
  return facts;
};

xray.element = (tag, options = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options))
    name.startsWith("on") ? made.addEventListener(name.slice(2), value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
};
