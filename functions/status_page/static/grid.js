// A grid of letters on one canvas, a pixel a cell scaled by CSS; walked by keys, opened by Enter or the mouse.
const MARKS = { 1: '▲', 2: '•', 4: '!' }, MANY = 120, HEIGHT = 18;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e6, 0], End: [1e6, 0], PageUp: [0, -20], PageDown: [0, 20] };
const set = (element, values) => { for (const name in values) element.style.setProperty(`--${name}`, values[name]); return element; };
const make = (name, text, x = 0, y = 0) => set(Object.assign(document.createElement(name), { textContent: text }), { x, y });
const clamp = (value, least, most) => Math.max(least, Math.min(most, value)), abgr = (rgb) => (255 << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16);
export const marksOf = (row, x) => [1, 2, 4].filter((bit) => (row.marks?.[x] ?? 0) & bit);
export const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
export class Grid {
  constructor(box, say, open = () => {}) {
    Object.assign(this, { box, say, heads: [], rows: [], x: Number(box.dataset.x), y: 0, code: box.dataset.code });
    for (const name of ['names', 'heads', 'marks', 'cells', 'cursor']) this[`$${name}`] = box.querySelector(`.${name}`);
    box.onkeydown = ({ key }) => {
      if (key === 'Enter') open();
      if (!STEPS[key]) return true;
      this.go(this.x + STEPS[key][0], this.y + STEPS[key][1]);
      this.$cursor.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      return false;
    };
    this.$cells.onclick = ({ offsetX, offsetY }) => { this.go(Math.floor(offsetX / this.w), Math.floor(offsetY / this.h)); open(); };
    addEventListener('resize', () => this.heads.length && this.show(this.heads, this.rows));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.paint());
  }
  show(heads, rows) {
    const isMany = rows.length > MANY, few = isMany ? [] : rows, labels = [];
    this.$names.replaceChildren(...few.map((row) => make('span', row.name)));
    const wide = this.box.clientWidth - this.$names.offsetWidth, w = clamp(Math.floor((100 * (wide - 4)) / heads.length) / 100, 4, 22), h = isMany ? 4 : HEIGHT;
    Object.assign(this, { heads, rows, w, h });
    set(this.box, { w: `${w}px`, h: `${h}px`, columns: heads.length, rows: rows.length }).classList.toggle('lined', w > 7 && !isMany);
    for (let x = heads.length - 1, next = 1e6; x >= 0; x--) if (heads[x] && (next - x) * w > 50) labels.push(make('span', heads[x], (next = x)));
    this.$heads.replaceChildren(...labels);
    const marks = few.flatMap((row, y) => Object.keys(row.marks ?? {}).map((x) => make('b', MARKS[marksOf(row, x)[0]], x, y)));
    this.$marks.replaceChildren(...marks);
    this.paint();
    this.go(this.x, Math.max(rows.findIndex((row) => row.code === this.code), 0));
  }
  paint() {
    const width = this.heads.length, height = Math.max(this.rows.length, 1), palette = {};
    const context = Object.assign(this.$cells, { width, height }).getContext('2d');
    const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (const letter of 'cteplmx') palette[letter] = abgr(parseInt(style(letter).slice(1), 16));
    this.rows.forEach(({ letters }, y) => { for (let x = 0; x < width; x++) pixels[y * width + x] = palette[letters[x]] ?? 0; });
    context.putImageData(image, 0, 0);
  }
  go(x, y) {
    Object.assign(this, { x: clamp(x, 0, this.heads.length - 1), y: clamp(y, 0, this.rows.length - 1) });
    set(this.$cursor, { x: this.x, y: this.y }).hidden = !this.rows.length;
    this.code = this.rows[this.y]?.code ?? this.code;
    this.say(this.rows[this.y], this.x);
  }
}
