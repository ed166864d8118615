// The arithmetic of the playground: stable for logits of any size.

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** log sum exp(z_i). */
export function logSumExp(z) {
  const most = Math.max(...z);
  return most + Math.log(sum(z.map((value) => Math.exp(value - most))));
}

/** exp(z_i / T) / sum_j exp(z_j / T). */
export function softmax(z, temperature = 1) {
  const most = Math.max(...z);
  const powers = z.map((value) => Math.exp((value - most) / temperature));
  const total = sum(powers);
  return powers.map((value) => value / total);
}

/** 1 / (1 + exp(-d)). */
export const sigmoid = (d) => (d >= 0 ? 1 / (1 + Math.exp(-d)) : Math.exp(d) / (1 + Math.exp(d)));

/** -log softmax(z / T) of the true class, in nats. */
export const crossEntropy = (z, truth, temperature = 1) =>
  logSumExp(z.map((value) => value / temperature)) - z[truth] / temperature;

/** The features of a point of the plane: with a 1, and with its squares where asked. */
export const featuresOf = ([x, y], squares) => (squares ? [1, x, y, x * x, x * y, y * y] : [1, x, y]);

/** Weights (K, F) of nothing. */
export const blank = (classes, squares) => Array.from({ length: classes }, () => new Array(squares ? 6 : 3).fill(0));

export const logits = (weights, features) => weights.map((row) => sum(row.map((w, j) => w * features[j])));

/** The mean cross-entropy of points {at, code}, the share answered right, and the gradient (K, F). */
export function measure(weights, points, squares) {
  const gradient = weights.map((row) => row.map(() => 0));
  let loss = 0;
  let right = 0;
  for (const { at, code } of points) {
    const features = featuresOf(at, squares);
    const z = logits(weights, features);
    const p = softmax(z);
    loss += crossEntropy(z, code) / points.length;
    right += p.every((share, k) => k === code || share < p[code]) ? 1 : 0;
    p.forEach((share, k) => {
      const pull = (share - (k === code ? 1 : 0)) / points.length;
      features.forEach((value, j) => {
        gradient[k][j] += pull * value;
      });
    });
  }
  return { loss, right: right / points.length, gradient };
}

/** One step of gradient descent: W - rate * gradient. */
export const stepped = (weights, gradient, rate) =>
  weights.map((row, k) => row.map((w, j) => w - rate * gradient[k][j]));

/** Numbers in [0, 1) from a seed. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
