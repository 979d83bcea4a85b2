// The map of stocks and sessions: found, sorted, walked, and explained in a panel.
import { Grid, marksOf } from './grid.js';
import { poll } from './poll.js';
const [form, box, panel, say, count] = ['filter', 'grid', 'panel', 'say', 'count'].map((id) => document.getElementById(id));
const words = JSON.parse(box.dataset.words), grid = new Grid(box, tell, open);
const problems = (stock) => stock.letters.match(/[lm]/g)?.length ?? 0;
let data;
function tell(stock, x) {
  const letter = stock?.letters[x], expected = data.expected[x], candles = stock?.candles?.[x] ?? { c: expected, e: 0 }[letter];
  const state = words.state[letter] + (candles === undefined || letter === 'x' ? '' : ` ${candles}/${expected}`);
  say.textContent = stock ? [`${stock.name} ${stock.code}`, data.sessions[x], state, ...marksOf(stock, x).map((bit) => words.mark[bit])].join(' · ') : words.map.none;
  if (stock) form.at.value = `${stock.code} ${data.sessions[x]}`;
  history.replaceState(null, '', `?${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`);
}
function draw() {
  const wanted = form.q.value.trim().toLowerCase(), months = data.sessions.map((day) => day.slice(0, 7));
  const isWanted = (stock) => `${stock.code} ${stock.name}`.toLowerCase().includes(wanted);
  const shown = data.stocks.filter((stock) => isWanted(stock) && (!form.problems.checked || problems(stock)));
  if (form.worst.checked) shown.sort((a, b) => problems(b) - problems(a));
  grid.show(months.map((month, x) => (month === months[x - 1] ? '' : month)), shown);
  count.textContent = `${shown.length.toLocaleString()} × ${months.length}`;
}
async function open() {
  const cell = `${location.pathname}/${grid.code}/${data.sessions[grid.x]}${box.dataset.look}`;
  const answer = grid.rows.length && (await fetch(cell).catch(() => null));
  if (!answer) return void (say.textContent = words.map[grid.rows.length ? 'failed' : 'none']);
  const { children } = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main');
  panel.lastElementChild.replaceChildren(...children);
  panel.togglePopover(true);
}
form.oninput = draw;
await poll(box.dataset.url, async (answer) => {
  data = await answer.json();
  box.hidden = form.hidden = false, draw();
})();
box.scrollLeft = grid.x * grid.w;
