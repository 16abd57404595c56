/* Where does this number come from? `OPS` has, for each op and each array that a reader can point
   at, the formula of ops/<op>.py, and a function which lists the terms that add up to one number.
   why.js shows any such list.

   The function gets the op's arrays, its options, and the index. It returns the terms, or an object
   with `terms`, `notes` (texts, or false), `finish` (what happens to the sum: its name, and the
   function) and `each` (what a term is, if it is no product). A third entry names an array without
   which it cannot work. */
{
  const { range } = xray;
  const volume = (shape) => shape.reduce((product, size) => product * size, 1);

  /* Numbers of arrays as they are; what is computed here, in float64, with 9 digits. */
  const digits = (value) =>
    Math.fround(value) === value ? xray.text(value) : `${Number(value.toPrecision(9))}`;
  const text = ({ fraction, exact, value, tensor }) =>
    fraction ?? (exact ? xray.text(value, tensor.dtype) : digits(value));
  const signed = (factor) => (factor.value < 0 ? `(${text(factor)})` : text(factor));

  /* Factors are numbers of arrays, as x.at(n, c, h, k), constants, or computed from a number. */
  const constant = (name, value) => ({ name, value });
  const ratio = (a, b) => ({ name: `${a}/${b}`, fraction: `${a}/${b}`, value: a / b });
  const computed = (name, value, from) => ({ ...from, name, value, exact: false });

  /* A term is a product, or a sum of parts: then its rounding is relative to their magnitudes. */
  const times = (...factors) => ({ factors, product: factors.reduce((p, f) => p * f.value, 1) });
  const made = (parts, ...factors) => ({
    factors,
    joint: ", ",
    product: parts.reduce((sum, part) => sum + part, 0),
    size: parts.reduce((sum, part) => sum + Math.abs(part), 0),
  });
  const bias = (b, o) => (b ? [times(b.at(o))] : []);

  /* The indices of all numbers of image n. */
  const pixels = (a, n) => {
    const [, ...shape] = a.shape;
    return range(volume(shape)).map((k) => [n, ...xray.unravel(k, shape)]);
  };

  /* Along one axis: the cells u of window i, each with the row h that it reads. */
  const reads = (i, K, S, P, H) =>
    range(K).map((u) => [u, i * S + u - P]).filter(([, h]) => h >= 0 && h < H);

  /* The other way round: the cells u that read row h, each with its window i, of OH windows. */
  const readers = (h, K, S, P, OH) =>
    range(K).map((u) => [u, (h + P - u) / S])
      .filter(([, i]) => Number.isInteger(i) && i >= 0 && i < OH);

  /* One of the two on both axes: all [u, v, h, k], or [u, v, i, j]. */
  const cells = (along, position, K, { stride, padding }, a) => {
    const [rows, columns] = [0, 1].map((axis) =>
      along(position[axis], K[axis], stride[axis], padding[axis], a.shape[2 + axis]),
    );
    return rows.flatMap(([u, h]) => columns.map(([v, k]) => [u, v, h, k]));
  };

  /* Both convolutions, forward and backward: windows slide over x or dy, or each number of x or dy
     paints a copy of w. The two differ in `along`, and in the order of w's first two axes. */
  const convolution = (along, order) => (name, note) => (arrays, options, [n, o, ...position]) => {
    const { w, b, [name]: a } = arrays;
    const [, , ...K] = w.shape;
    const found = cells(along, position, K, options, a);
    const products = range(a.shape[1]).flatMap((c) =>
      found.map(([u, v, h, k]) => times(w.at(...order(o, c), u, v), a.at(n, c, h, k))),
    );
    const terms = name === "x" ? [...bias(b, o), ...products] : products;
    return { terms, notes: [note(found.length, volume(K))] };
  };
  const sliding = convolution(reads, (o, c) => [o, c]);
  const painting = convolution(readers, (o, c) => [c, o]);
  const outside = (value) => (inside, all) =>
    inside < all && `${all - inside} of the window's ${all} cells lie outside: ${value}.`;

  /* Pooling: `find` gives [row, column, factors] of the numbers that add up. */
  const pooling = (name, find, note = () => false) => (arrays, options, [n, c, ...position]) => {
    const found = find(position, options, arrays);
    const terms = found.map(([h, k, ...factors]) => times(...factors, arrays[name].at(n, c, h, k)));
    return { terms, notes: [note(found.length, volume(options.kernel_size ?? []))] };
  };
  const averaged = (along, name) => (position, options, arrays) => {
    const K = options.kernel_size;
    const found = cells(along, position, K, options, arrays[name]);
    return found.map(([, , h, k]) => [h, k, ratio(1, volume(K))]);
  };

  /* Adaptive pooling: the numbers of window (i,j); and the windows that hold (h,k). */
  const adaptive = ([i, j], { output_size: [OH, OW] }, { x }) => {
    const along = (k, size, windows) => {
      const first = Math.floor((k * size) / windows);
      return range(Math.ceil(((k + 1) * size) / windows) - first).map((offset) => first + offset);
    };
    const [rows, columns] = [along(i, x.shape[2], OH), along(j, x.shape[3], OW)];
    const share = ratio(1, rows.length * columns.length);
    return rows.flatMap((h) => columns.map((k) => [h, k, share]));
  };
  const adaptiveHolders = ([h, k], options, arrays) =>
    range(volume(options.output_size)).flatMap((window) => {
      const [i, j] = xray.unravel(window, options.output_size);
      const holds = ([row, column]) => row === h && column === k;
      return adaptive([i, j], options, arrays).filter(holds).map(([, , share]) => [i, j, share]);
    });

  /* Max pooling: the numbers of a window, and the winner. NaN wins; of equal ones the first. */
  const contest = (x, options, [n, c, ...position]) => {
    const found = cells(reads, position, options.kernel_size, options, x);
    const candidates = found.map(([, , h, k]) => x.at(n, c, h, k));
    const better = (a, b) => (a.value >= b.value || Number.isNaN(a.value) ? a : b);
    return { candidates, winner: candidates.reduce(better) };
  };
  const won = (wins, at) =>
    made([wins ? at.value : 0], at, constant(wins ? "wins" : "does not win", wins ? 1 : 0));

  /* Element by element, a slope times x or dy. */
  const bent = (slope, name) => (arrays, options, index) => {
    const x = arrays.x.at(...index);
    const factor = constant("slope", slope(x.value, options));
    return { terms: [times(factor, arrays[name].at(...index))], notes: [`x is ${text(x)}.`] };
  };
  const leaky = (x, { negative_slope }) => (x > 0 ? 1 : negative_slope);

  /* Batch normalisation, alone or with the leaky ReLU after it. */
  const normalised = ({ x, mean, inv_std }, index) => {
    const [at, m, s] = [x.at(...index), mean.at(index[1]), inv_std.at(index[1])];
    const x_hat = computed("x_hat", (at.value - m.value) * s.value, at);
    const numbers = `(${text(at)} - ${signed(m)}) × ${text(s)} = ${text(x_hat)}`;
    return [x_hat, `x_hat = (x - mean) inv_std = ${numbers}, with the mean of the whole channel.`];
  };
  const batchNorm = (arrays, { negative_slope: slope = 1 }, index) => {
    const { w, b, y } = arrays;
    const [x_hat, note] = normalised(arrays, index);
    const bends = slope !== 1 && !(y.value(index) > 0);
    return {
      terms: [times(w.at(index[1]), x_hat), times(b.at(index[1]))],
      finish: bends && [`leaky_relu: ${slope} × the sum`, (sum) => slope * sum],
      notes: [note],
    };
  };
  const batchNormBackward = (arrays, { training, negative_slope: slope = 1 }, index) => {
    const { x, w, inv_std, dy, db, dw, y } = arrays;
    const c = index[1];
    const M = volume(x.shape) / x.shape[1];
    const [x_hat, note] = normalised(arrays, index);
    const bends = slope !== 1 && !(y.value(index) > 0);
    const scale = [w.at(c), inv_std.at(c)];
    const dh = times(...scale, ...(bends ? [constant("slope", slope)] : []), dy.at(...index));
    const average = ratio(-1, M);
    if (!training) return [dh]; // mean and inv_std are constants
    return {
      terms: [dh, times(...scale, average, db.at(c)), times(...scale, average, x_hat, dw.at(c))],
      notes: [
        note,
        slope !== 1 && "dh is dy, times the slope of the leaky ReLU where y is not positive.",
        `db / M and dw / M are the averages of ${slope === 1 ? "dy" : "dh"} and of its product ` +
          `with x_hat, over the M = ${M} numbers of channel ${c} in the whole batch. Every dy of ` +
          "the channel reaches this dx through them, because x moves the mean and the variance.",
      ],
    };
  };

  const minusOne = constant("-1", -1);
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const std = (logvar) => computed("std", Math.exp(logvar.value / 2), logvar);

  /* KL of one latent dimension, and its derivative by logvar. */
  const divergence = (mu, logvar) =>
    made([mu.value ** 2 / 2, Math.expm1(logvar.value) / 2, -logvar.value / 2], mu, logvar);
  const slopeOfKL = (logvar) =>
    computed("(exp(logvar) - 1) / 2", Math.expm1(logvar.value) / 2, logvar);

  /* Free bits: 0 where they stand in for KL, whose average over the batch is below them; else 1. */
  const counts = (kl, { free_bits }, [, ...j]) => {
    const sum = range(kl.shape[0]).reduce((total, n) => total + kl.value([n, ...j]), 0);
    const free = sum / kl.shape[0] < free_bits;
    return constant(free ? "free" : "not free", free ? 0 : 1);
  };

  const OPS = {
    linear: {
      y: ["y[n,o] = b[o] + sum over i of w[o,i] x[n,i]", ({ x, w, b }, _, [n, o]) =>
        [...bias(b, o), ...range(x.shape[1]).map((i) => times(w.at(o, i), x.at(n, i)))]],
      dx: ["dx[n,i] = sum over o of w[o,i] dy[n,o]", ({ w, dy }, _, [n, i]) =>
        range(dy.shape[1]).map((o) => times(w.at(o, i), dy.at(n, o)))],
    },
    conv2d: {
      y: ["y[n,o,i,j] = b[o] + sum over c,u,v of w[o,c,u,v] x[n, c, i*SH + u - PH, j*SW + v - PW]",
        sliding("x", outside("x is 0 there"))],
      dx: ["dx[n,c,h,k] = sum of w[o,c,u,v] dy[n,o,i,j] over all o,i,j,u,v with " +
        "i*SH + u - PH = h and j*SW + v - PW = k",
        painting("dy", (count) => `Windows that read this x: ${count}, in each output channel.`)],
    },
    conv_transpose2d: {
      y: ["y[n,o,h,k] = b[o] + sum of w[c,o,u,v] x[n,c,i,j] over all c,i,j,u,v with " +
        "i*SH + u - PH = h and j*SW + v - PW = k",
        painting("x", (count) => `Numbers that paint this y: ${count}, in each channel of x.`)],
      dx: ["dx[n,c,i,j] = sum over o,u,v of w[c,o,u,v] dy[n, o, i*SH + u - PH, j*SW + v - PW]",
        sliding("dy", outside("dy is 0 there"))],
    },
    max_pool2d: {
      y: ["y[n,c,i,j] = max over u,v of x[n, c, i*SH + u - PH, j*SW + v - PW]",
        ({ x }, options, index) => {
          const { candidates, winner } = contest(x, options, index);
          const equal = candidates.filter(({ value }) => value === winner.value).length;
          return {
            each: "adds",
            terms: candidates.map((at) => won(at === winner, at)),
            notes: [
              equal > 1 && `${equal} numbers tie: the first in reading order wins.`,
              outside("x is -infinity there")(candidates.length, volume(options.kernel_size)),
            ],
          };
        }],
      dx: ["dx[n,c,h,k] = sum of dy[n,c,i,j] over the windows (i,j) whose winner is x[n,c,h,k]",
        ({ x, dy }, options, [n, c, h, k]) => {
          const found = cells(readers, [h, k], options.kernel_size, options, dy);
          const terms = found.map(([, , i, j]) => {
            const { winner } = contest(x, options, [n, c, i, j]);
            return won(`${winner.index}` === `${[n, c, h, k]}`, dy.at(n, c, i, j));
          });
          return { each: "adds", terms };
        }],
    },
    avg_pool2d: {
      y: ["y[n,c,i,j] = 1 / (KH KW) × sum over u,v of x[n, c, i*SH + u - PH, j*SW + v - PW]",
        pooling("x", averaged(reads, "x"), outside("x is 0 there, and counts"))],
      dx: ["dx[n,c,h,k] = 1 / (KH KW) × sum of dy[n,c,i,j] over the windows (i,j) that hold (h,k)",
        pooling("dy", averaged(readers, "dy"))],
    },
    adaptive_avg_pool2d: {
      y: ["y[n,c,i,j] = average of x[n,c,h,k] over floor(i H / OH) <= h < ceil((i + 1) H / OH) " +
        "and floor(j W / OW) <= k < ceil((j + 1) W / OW)", pooling("x", adaptive)],
      dx: ["dx[n,c,h,k] = sum of dy[n,c,i,j] over the windows (i,j) that hold (h,k), each " +
        "divided by the size of its window", pooling("dy", adaptiveHolders)],
    },
    upsample_nearest: {
      y: ["y[n,c,h,k] = x[n, c, floor(h / SH), floor(k / SW)]",
        pooling("x", ([h, k], { scale_factor: [SH, SW] }) =>
          [[Math.floor(h / SH), Math.floor(k / SW)]])],
      dx: ["dx[n,c,i,j] = sum of dy over the block of pixel (i,j)",
        pooling("dy", ([i, j], { scale_factor: [SH, SW] }) =>
          range(SH).flatMap((u) => range(SW).map((v) => [i * SH + u, j * SW + v])))],
    },
    batch_norm: {
      y: ["y[n,c,h,k] = w[c] x_hat + b[c]", batchNorm],
      dx: ["dx[n,c,h,k] = w[c] inv_std[c] (dy - db[c] / M - x_hat dw[c] / M)", batchNormBackward],
    },
    batch_norm_leaky_relu: {
      y: ["y[n,c,h,k] = leaky_relu(w[c] x_hat + b[c])", batchNorm],
      dx: ["dx[n,c,h,k] = w[c] inv_std[c] (dh - db[c] / M - x_hat dw[c] / M)", batchNormBackward],
    },
    relu: {
      y: ["y = max(x, 0)", bent((x) => (x <= 0 ? 0 : 1), "x")],
      dx: ["dx = dy where y > 0, else 0", bent((x) => (x > 0 ? 1 : 0), "dy")],
    },
    leaky_relu: {
      y: ["y = x where x > 0, else negative_slope x", bent(leaky, "x")],
      dx: ["dx = dy where x > 0, else negative_slope dy", bent(leaky, "dy")],
    },
    sigmoid: {
      y: ["y = 1 / (1 + exp(-x))", ({ x }, _, index) =>
        ({ each: "y", terms: [made([sigmoid(x.value(index))], x.at(...index))] })],
      dx: ["dx = dy y (1 - y)", ({ y, dy }, _, index) => {
        const at = y.at(...index);
        return [times(dy.at(...index), at, computed("1 - y", 1 - at.value, at))];
      }],
    },
    tanh: {
      y: ["y = tanh(x)", ({ x }, _, index) =>
        ({ each: "y", terms: [made([Math.tanh(x.value(index))], x.at(...index))] })],
      dx: ["dx = dy - dy y^2", ({ y, dy }, _, index) => {
        const [at, d] = [y.at(...index), dy.at(...index)];
        return [times(d), times(minusOne, d, at, at)];
      }],
    },
    reparameterize: {
      z: ["z = mu + std eps, std = exp(logvar / 2)", ({ mu, logvar, eps }, _, index) =>
        [times(mu.at(...index)), times(std(logvar.at(...index)), eps.at(...index))]],
      dmu: ["dmu = dz", ({ dy }, _, index) => [times(dy.at(...index))]],
      dlogvar: ["dlogvar = dz eps std / 2", ({ logvar, eps, dy }, _, index) =>
        [times(dy.at(...index), eps.at(...index), std(logvar.at(...index)), ratio(1, 2))]],
    },
    mean_logvar: {
      y: [([r]) => `y[r,n] = ${r ? "log(var[n] + eps)" : "average of x[n]"}`,
        ({ x, mean }, { eps }, [r, n]) => {
          const P = volume(x.shape) / x.shape[0];
          const values = pixels(x, n).map((index) => x.at(...index));
          if (r === 0) return values.map((at) => times(ratio(1, P), at));
          return {
            each: `(x - mean)^2 / ${P}`,
            terms: values.map((at) => made([(at.value - mean.value([n])) ** 2 / P], at)),
            finish: ["log(sum + eps)", (sum) => Math.log(sum + eps)],
            notes: [`var is the average of (x - mean)^2; mean[${n}] is ${text(mean.at(n))}.`],
          };
        }],
      dx: ["dx = dy[0,n] / P + dy[1,n] 2 (x - mean[n]) / (P (var[n] + eps))",
        ({ x, mean, var: variance, dy }, { eps }, index) => {
          const [n] = index;
          const P = volume(x.shape) / x.shape[0];
          const at = x.at(...index);
          const deviation = computed("x - mean", at.value - mean.value([n]), at);
          const rate = constant("2 / (P (var + eps))", 2 / (P * (variance.value([n]) + eps)));
          return [times(dy.at(0, n), ratio(1, P)), times(dy.at(1, n), rate, deviation)];
        }],
    },
    bce: {
      y: ["y[n] = sum over pixels of log(1 + exp(l)) - t l, l of logits[n], t of target[n]",
        ({ logits, target }, _, [n]) => ({
          each: "log(1 + exp(l)) - t l",
          terms: pixels(logits, n).map((index) => {
            const [l, t] = [logits.at(...index), target.at(...index)];
            return made([softplus(l.value), -t.value * l.value], l, t);
          }),
        })],
      dlogits: ["dlogits = dy[n] (s(l) - t), s(l) = 1 / (1 + exp(-l))",
        ({ logits, target, dy }, _, index) => {
          const [l, t, d] = [logits.at(...index), target.at(...index), dy.at(index[0])];
          const s = computed("s(l)", sigmoid(l.value), l);
          return { terms: [times(d, s), times(minusOne, d, t)], notes: [`l is ${text(l)}.`] };
        }],
    },
    mse: {
      y: ["y[n] = sum over pixels of (p - t)^2 / divisor, p of prediction[n], t of target[n]",
        ({ prediction, target }, { divisor }, [n]) => ({
          each: `(p - t)^2 / ${divisor}`,
          terms: pixels(prediction, n).map((index) => {
            const [p, t] = [prediction.at(...index), target.at(...index)];
            return made([(p.value - t.value) ** 2 / divisor], p, t);
          }),
        })],
      dprediction: ["dprediction = dy[n] 2 (p - t) / divisor",
        ({ prediction, target, dy }, { divisor }, index) => {
          const [p, t] = [prediction.at(...index), target.at(...index)];
          const difference = computed("p - t", p.value - t.value, p);
          const terms = [times(dy.at(index[0]), ratio(2, divisor), difference)];
          return { terms, notes: [`p is ${text(p)}, t is ${text(t)}.`] };
        }],
    },
    kl: {
      y: ["y[n] = sum over latent dimensions of (mu^2 + exp(logvar) - 1 - logvar) / 2",
        ({ mu, logvar }, _, [n]) => ({
          each: "(mu^2 + exp(logvar) - 1 - logvar) / 2",
          terms: pixels(mu, n).map((index) => divergence(mu.at(...index), logvar.at(...index))),
        })],
      dmu: ["dmu = dy[n] mu", ({ mu, dy }, _, index) => [times(dy.at(index[0]), mu.at(...index))]],
      dlogvar: ["dlogvar = dy[n] (exp(logvar) - 1) / 2", ({ logvar, dy }, _, index) =>
        [times(dy.at(index[0]), slopeOfKL(logvar.at(...index)))]],
    },
    kl_free_bits: {
      y: ["y[n] = sum over latent dimensions of free_bits, where the batch average of KL is " +
        "below it, elsewhere of KL = (mu^2 + exp(logvar) - 1 - logvar) / 2",
        ({ mu, logvar, kl }, options, [n]) => ({
          each: "KL or free bits",
          terms: pixels(mu, n).map((index) => {
            const [m, v] = [mu.at(...index), logvar.at(...index)];
            const free = counts(kl, options, index).value === 0;
            return free ? made([options.free_bits], m, v) : divergence(m, v);
          }),
        }), "kl"],
      dmu: ["dmu = 0 where the batch average of KL is below free_bits, elsewhere dy[n] mu",
        ({ mu, dy, kl }, options, index) =>
          [times(counts(kl, options, index), dy.at(index[0]), mu.at(...index))], "kl"],
      dlogvar: ["dlogvar = 0 where the batch average of KL is below free_bits, " +
        "elsewhere dy[n] (exp(logvar) - 1) / 2", ({ logvar, dy, kl }, options, index) =>
        [times(counts(kl, options, index), dy.at(index[0]), slopeOfKL(logvar.at(...index)))], "kl"],
    },
    elbo: {
      "losses.total": ["total = 1 / N × sum over n of reconstruction[n] + beta kl[n]",
        ({ reconstruction, kl }, { beta }) => {
          const [N] = kl.shape;
          return range(N).flatMap((n) => [
            times(ratio(1, N), reconstruction.at(n)),
            times(ratio(1, N), constant("beta", beta), kl.at(n)),
          ]);
        }],
      dreconstruction: ["dreconstruction[n] = dtotal / N", ({ kl, dy }) =>
        [times(dy.at(), ratio(1, kl.shape[0]))]],
      dkl: ["dkl[n] = dtotal beta / N", ({ kl, dy }, { beta }) =>
        [times(dy.at(), constant("beta", beta), ratio(1, kl.shape[0]))]],
    },
  };

  xray.terms = { OPS, digits, text, signed };
}
