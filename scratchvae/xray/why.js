/* Where does this number come from? The section of an op's page that shows the terms of any number
   that the reader points at; terms.js lists them. */
{
  const { range } = xray;
  const { OPS, digits, text, signed } = xray.terms;
  const NAMES = { reparameterize: { dy: "dz" }, elbo: { dy: "dtotal", "losses.total": "total" } };
  const bracket = (index) => (index.length ? `[${index.join(", ")}]` : "");

  /* An op of the page with its numbers. `results`: what a reader can point at. `images`: how many
     images the page has the numbers of. */
  const load = async (name) => {
    const { op, options, tensors, origins } = xray.data.ops[name];
    const arrays = {};
    for (const [key, k] of Object.entries(tensors)) {
      const numbers = await xray.numbers(k);
      if (numbers) arrays[key] = new xray.Tensor(NAMES[op]?.[key] ?? key, k, numbers, key);
    }
    const partial = Object.values(arrays).filter((a) => a.stored[0] < a.shape[0]);
    const images = Math.min(Infinity, ...partial.map((a) => a.stored[0]));
    const results = Object.keys(OPS[op] ?? {}).filter((key) => {
      const [, , needed = key] = OPS[op][key];
      return key in arrays && needed in arrays;
    });
    return { name, op, options, arrays, images, results, origins };
  };
  const loaded = Object.create(null); // a layer may be called toString
  const opened = (name) => (loaded[name] ??= load(name));

  /* All that is said of one number. The largest terms come first. */
  const explain = ({ op, options, arrays }, result, index) => {
    const [, list] = OPS[op][result];
    const found = list(arrays, options, index);
    const { terms, notes = [], finish, each } = Array.isArray(found) ? { terms: found } : found;
    terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const total = terms.reduce((sum, term) => sum + term.product, 0);
    const size = terms.reduce((sum, term) => sum + (term.size ?? Math.abs(term.product)), 0);
    const sum = finish ? finish[1](total) : total;
    const value = arrays[result].value(index);
    return { value, sum, terms, total, size, finish, each, notes: notes.filter(Boolean) };
  };

  /* For tests, too: a number of the step, the sum of its terms, and the terms. */
  xray.explain = async (name, result, index) => explain(await opened(name), result, index);

  /* The formula of a result as text, and the names of its axes, with which it begins. */
  const formulaOf = ({ op }, result, index = []) => {
    const [formula] = OPS[op][result];
    return typeof formula === "string" ? formula : formula(index);
  };
  const axes = (op, result) => {
    const { length } = op.arrays[result].shape;
    const named = /^\w+\[([\w,]+)\]/.exec(formulaOf(op, result))?.[1].split(",");
    return (named ?? (length === 4 ? [..."nchk"] : [..."nijk"])).slice(0, length);
  };

  /* The formula with the numbers of the index, the strides, and so on. */
  const filled = (op, result, index) => {
    const { stride, padding, kernel_size, scale_factor, output_size, ...values } = op.options;
    const pairs = { S: stride ?? scale_factor, P: padding, K: kernel_size, O: output_size };
    for (const [letter, pair] of Object.entries(pairs))
      [values[`${letter}H`], values[`${letter}W`]] = pair ?? [];
    [, , values.H, values.W] = op.arrays.x?.shape ?? [];
    axes(op, result).forEach((axis, k) => (values[axis] = index[k]));
    const [, right] = formulaOf(op, result, index).match(/^.*? = (.*)/);
    const used = op.arrays.b ? right : right.replace("b[o] + ", "");
    const numbers = used.replace(/[A-Za-z_]\w*/g, (word) => values[word] ?? word);
    return `${op.arrays[result].name}${bracket(index)} = ${numbers}`;
  };

  /* A term as names; and as numbers, of which the first of a line needs no brackets. */
  const named = ({ factors, joint = " × " }) =>
    factors.map((f) => (f.exact ? f.name + bracket(f.index) : f.name)).join(joint);
  const numbered = ({ factors, joint = " × " }, first = true) =>
    factors.map((f, k) => (first && k === 0 ? text(f) : signed(f))).join(joint);

  /* The largest terms in a line, and what they add up to. */
  const WRITTEN = 4;
  const written = ({ terms, total, sum, finish }) => {
    const texts = terms
      .slice(0, WRITTEN)
      .map((term, k) => (term.joint ? digits(term.product) : numbered(term, k === 0)));
    if (terms.length > WRITTEN) texts.push(`… (${terms.length - WRITTEN} more)`);
    const added = texts.join(" + ");
    const ending = finish ? `, ${finish[0]} = ${digits(sum)}` : "";
    return `= ${added}${added === digits(total) ? "" : ` = ${digits(total)}`}${ending}`;
  };

  /* Whether the sum is the number of the step, but for rounding: relative to the magnitudes of the
     terms. */
  const ROUNDING = { float32: 1e-5, float64: 1e-13 };
  const TINIEST = { float32: 1.2e-38, float64: 2.3e-308 }; // below it numbers underflow
  const verdict = ({ value, sum, size }, dtype) => {
    const error = Object.is(sum, value) ? 0 : Math.abs(sum - value);
    const rounding = Math.max(ROUNDING[dtype] * Math.max(size, Math.abs(value)), TINIEST[dtype]);
    const agrees = error === 0 || error <= rounding;
    const numbers = `In this step: ${xray.text(value, dtype)}. Added in float64: ${digits(sum)}.`;
    const more = agrees ? "" : "more than ";
    const difference = `The difference, ${error.toPrecision(2)}, is ${more}rounding to ${dtype}.`;
    return { agrees, words: `${numbers} ${error === 0 ? "They are equal." : difference}` };
  };

  /* The products of a sum, drawn where the factor of one array is. */
  class Products {
    constructor({ shape }, terms, name) {
      Object.assign(this, { name, shape });
      this.all = new Map(terms.map(({ index, product }) => [xray.ravel(index, shape), product]));
      this.signed = terms.some(({ product }) => product < 0);
      this.most = Math.max(...terms.map(({ product }) => Math.abs(product)));
    }

    value(index) {
      return this.all.get(xray.ravel(index, this.shape));
    }
  }

  /* The axes that all indices share, other than rows and columns, as {axis: index}. */
  const shared = (shape, indices) => {
    const matrix = shape.length === 2;
    const leading = matrix ? [0, 1] : range(Math.max(shape.length - 2, 0));
    const [first] = indices;
    const same = leading.filter((axis) => indices.every((each) => each[axis] === first[axis]));
    return Object.fromEntries(same.slice(0, matrix ? 1 : 2).map((axis) => [axis, first[axis]]));
  };

  /* The tiles with the largest shares of the sum, if there are more than `limit`. */
  const largestTiles = (layout, uses, limit) => {
    if (layout.tiles <= limit) return undefined;
    const share = Array(layout.tiles).fill(0);
    for (const { index, product } of uses) share[layout.tile(index)] += Math.abs(product);
    return range(layout.tiles).sort((a, b) => share[b] - share[a]).slice(0, limit);
  };

  const ROWS = 50; // terms in the table, until the reader asks for all
  const WIDE = 80; // cells; it is hard to point at those of a wider grid

  /* The section of an op: a choice of a number, and its explanation. */
  class Explorer {
    constructor(op, direction) {
      const { element } = xray;
      this.op = op;
      this.grids = {};
      this.fields = element("span", { class: "fields" });
      this.targets = element("div", { class: "grids" });
      this.factors = element("div", { class: "grids" });
      this.says = element("div", { class: "says", "aria-live": "polite" });
      this.head = element("tr");
      this.rows = element("tbody");
      this.more = element("button", { type: "button", onclick: () => this.list(Infinity) });
      const gradients = op.results.filter((key) => key.startsWith("d"));
      const [first] = direction === "backward" && gradients.length ? gradients : op.results;
      const radios = op.results.map((key) => {
        const options = { type: "radio", name: `why-${op.name}`, onchange: () => this.choose(key) };
        const radio = element("input", key === first ? { ...options, checked: "" } : options);
        return element("label", {}, radio, op.arrays[key].name);
      });
      const absent = Object.keys(OPS[op.op]).filter((key) => !(key in op.arrays));
      if (absent.length) radios.push(`This step needs no ${absent.join(", ")} here.`);
      const table = element("table", {}, element("thead", {}, this.head), this.rows);
      const scroll = { class: "scroll", tabindex: 0, role: "region", "aria-label": "Terms" };
      this.parts = [
        element("fieldset", {}, element("legend", {}, "A number of"), ...radios, this.fields),
        element("div", { class: "grids" }, this.targets, this.factors),
        this.says, element("div", scroll, table), this.more,
      ];
      this.choose(first);
    }

    /* Turn to an array, and first to its largest number. */
    choose(key) {
      const array = this.op.arrays[key];
      const names = axes(this.op, key);
      this.result = key;
      this.inputs = names.map((axis, k) => {
        const size = Math.min(array.shape[k], axis === "n" ? this.op.images : Infinity);
        const options = { type: "number", min: 0, max: size - 1, oninput: () => this.typed() };
        return xray.element("input", options);
      });
      const labels = this.inputs.map((input, k) => xray.element("label", {}, names[k], input));
      this.fields.replaceChildren(...labels);
      this.targets.replaceChildren();
      this.pick(array.largest().map((i, k) => Math.min(i, this.inputs[k].max)));
    }

    typed() {
      const valid = this.inputs.every((input) => input.value && input.checkValidity());
      if (valid) this.pick(this.inputs.map((input) => Number(input.value)));
    }

    pick(index) {
      if (index.some((i, axis) => i > this.inputs[axis].max)) return; // an image that is not here
      this.index = index;
      this.found = explain(this.op, this.result, index);
      index.forEach((i, axis) => (this.inputs[axis].value = i));
      this.drawTarget();
      this.drawFactors();
      this.say();
      this.list(ROWS);
    }

    /* The array to point at: an image, and one of its channels if the cells are small. */
    drawTarget() {
      const array = this.op.arrays[this.result];
      const { length } = array.shape;
      const batch = axes(this.op, this.result).indexOf("n");
      if (!length) return;
      const image = length > 1 ? { [batch]: this.index[batch] } : {};
      const layout = this.draw(this.targets, "image", array, image, [this.index]);
      const channel = { 0: this.index[0], 1: this.index[1] };
      if (layout.width > WIDE && length === 4)
        this.draw(this.targets, "channel", array, channel, [this.index]);
    }

    /* The arrays of the factors, and the products where the weights are. */
    drawFactors() {
      const { terms } = this.found;
      const uses = new Map(); // array -> its terms, each with the index of its factor
      for (const { factors, product } of terms)
        for (const { tensor, index } of factors.filter((factor) => factor.tensor)) {
          if (!uses.has(tensor)) uses.set(tensor, []);
          uses.get(tensor).push({ index, product });
        }
      const several = (array) => new Set(uses.get(array).map(({ index }) => `${index}`)).size > 1;
      const drawn = [...uses.keys()].filter((array) => array.shape.length > 1 || several(array));
      const side = Math.max(...drawn.map((a) => (a.shape.length > 2 ? a.shape.at(-1) : 1)));
      const limit = side > 40 ? 4 : side > 1 ? 16 : Infinity;
      this.factors.replaceChildren();
      for (const array of drawn) {
        const indices = uses.get(array).map(({ index }) => index);
        const fixed = shared(array.shape, indices);
        const whole = xray.layout(array.shape, fixed);
        const chosen = largestTiles(whole, uses.get(array), limit);
        this.draw(this.factors, array.name, array, fixed, indices, chosen);
        const covered = array.name === "w" || indices.length === whole.size;
        const telling = terms.length > 1 && (drawn.length > 1 || terms[0].joint);
        const inEach = ({ factors }) => drawn.every((a) => factors.some((f) => f.tensor === a));
        const one = terms[0].joint || terms.every(inEach); // and not sums of different products
        if (array !== drawn[0] || !covered || !telling || !one) continue;
        const name = terms[0].joint ? "terms" : drawn.map((a) => a.name).join(" × ");
        const products = new Products(array, uses.get(array), name);
        this.draw(this.factors, "products", products, fixed, [], chosen);
      }
    }

    /* Draw the numbers of an array that have the fixed indices. Returns the layout. */
    draw(parent, key, array, fixed, lit, chosen) {
      const pick = parent === this.targets ? (index) => this.pick(index) : null;
      const grid = (this.grids[key] ??= new xray.Grid(pick));
      const layout = xray.layout(array.shape, fixed, chosen);
      if (grid.figure.parentNode !== parent) parent.append(grid.figure);
      grid.show(array, layout, this.caption(array, fixed, chosen), lit);
      return layout;
    }

    /* What is drawn, as a slice: w[3] are the weights of output 3, w[:, 3] those of input 3. */
    caption(array, fixed, chosen) {
      const { element } = xray;
      if (array instanceof Products) return [element("b", {}, array.name)];
      const last = Math.max(-1, ...Object.keys(fixed));
      const slice = bracket(range(last + 1).map((axis) => fixed[axis] ?? ":"));
      const parts = [element("b", {}, array.name + slice), ` of ${xray.shape(array.shape)}`];
      const [maker, address] = this.op.origins[array.key] ?? [];
      if (maker) parts.push(", from ", element("a", { href: address }, maker));
      if (chosen) parts.push(element("span", {}, `the ${chosen.length} with the largest shares`));
      return parts;
    }

    /* The formula, with numbers; the sum beside the number of the step. */
    say() {
      const { found, op, result, index } = this;
      const { words, agrees } = verdict(found, op.arrays[result].dtype);
      const line = (text, options = {}) => xray.element("p", options, text);
      this.says.replaceChildren(
        line(filled(op, result, index), { class: "equation" }),
        line(written(found), { class: "equation" }),
        line(words, { class: agrees ? "agrees" : "wrong" }),
        ...found.notes.map((note) => line(note)),
      );
    }

    /* The terms as a table, the largest first. */
    list(most) {
      const { element } = xray;
      const { terms, each = "product" } = this.found;
      let total = 0;
      const rows = terms.slice(0, most).map((term) => {
        total += term.product;
        const texts = [named(term), numbered(term), digits(term.product), digits(total)];
        return element("tr", {}, ...texts.map((words) => element("td", {}, words)));
      });
      const heads = ["term", "numbers", each, "total so far"];
      this.head.replaceChildren(...heads.map((words) => element("th", { scope: "col" }, words)));
      this.rows.replaceChildren(...rows);
      this.more.hidden = terms.length <= most;
      this.more.textContent = `Show all ${terms.length} terms`;
    }
  }

  /* Fills the section of an op when its page is shown for the first time. */
  xray.why = async (name, direction) => {
    const section = document.querySelector(`.why[data-op="${name}"]`);
    if (!section || section.classList.contains("filled")) return;
    section.classList.add("filled");
    const op = await opened(name);
    const known = op.results.length > 0;
    const help = known
      ? "Point at a number: what it was made of lights up beside it."
      : `This page cannot say where the numbers of ${op.op} come from.`;
    section.append(xray.element("p", {}, help), ...(known ? new Explorer(op, direction).parts : []));
    section.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow")) event.stopPropagation(); // here they do not walk
    });
  };
}
