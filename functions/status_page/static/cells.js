// A map of letters on one canvas, a pixel a cell, scaled by CSS.
export const $ = (id) => document.getElementById(id);
export const make = (name, text = '') => Object.assign(document.createElement(name), { textContent: text });
function colour(letter) {
  const told = getComputedStyle(document.documentElement).getPropertyValue('--' + letter).trim().slice(1);
  const n = parseInt(told.length === 3 ? [...told].map((d) => d + d).join('') : told, 16);
  return (255 << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16);
}
export function paint(canvas, rows, width, cell) {
  const height = Math.max(rows.length, 1);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const palette = {};
  for (const letter of 'cteplmx') palette[letter.charCodeAt(0)] = colour(letter);
  rows.forEach((letters, y) => { for (let x = 0; x < width; x++) pixels[y * width + x] = palette[letters.charCodeAt(x)] || 0; });
  context.putImageData(image, 0, 0);
  Object.assign(canvas.style, { width: width * cell.w + 'px', height: height * cell.h + 'px' });
}
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e6, 0], End: [1e6, 0], PageUp: [0, -20], PageDown: [0, 20] };
export function walk(box, canvas, cell, move, open) {
  box.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    if (step) { event.preventDefault(); move(...step); } else if (event.key === 'Enter' && open) open();
  });
  canvas.addEventListener('click', (event) => {
    const { left, top } = canvas.getBoundingClientRect(), { w, h } = cell();
    move(0, 0, Math.floor((event.clientX - left) / w), Math.floor((event.clientY - top) / h));
    if (open) open();
  });
  for (const query of ['(prefers-color-scheme: dark)']) matchMedia(query).addEventListener('change', () => move(0, 0));
}
