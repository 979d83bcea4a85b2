// The map of stocks and sessions: painted, walked by keys, explained in a panel.
import { $, make, paint, walk } from './cells.js';
const box = $('map'), grid = $('grid'), canvas = $('cells'), panel = $('panel'), say = $('say');
const words = JSON.parse(box.dataset.words), query = new URLSearchParams(location.search);
const look = ['lang', 'theme'].filter((k) => query.has(k)).map((k) => `${k}=${query.get(k)}`).join('&');
const MARKS = { 1: '▲', 2: '•', 4: '!' };
let data = { stocks: [], sessions: [], expected: [] }, shown = [], at = { x: 0, y: 0 }, cell = { w: 12, h: 18 }, etag = '';
const problems = (stock) => (stock.letters.match(/[lm]/g) || []).length;
function address() {
  for (const [name, value] of [['q', $('find').value.trim()], ['problems', $('only').checked ? 'true' : ''], ['worst', $('worst').checked ? 'true' : ''], ['at', shown[at.y] ? `${shown[at.y].code} ${data.sessions[at.x]}` : '']]) value ? query.set(name, value) : query.delete(name);
  history.replaceState(null, '', '?' + query);
}
function draw() {
  if (!data.sessions.length) return;
  const wanted = $('find').value.trim().toLowerCase(), width = data.sessions.length;
  shown = data.stocks.filter((s) => (!wanted || s.code.toLowerCase().includes(wanted) || s.name.toLowerCase().includes(wanted)) && (!$('only').checked || problems(s)));
  if ($('worst').checked) shown.sort((a, b) => problems(b) - problems(a));
  const many = shown.length > 120, wide = grid.clientWidth - $('names').offsetWidth - 20;
  cell = { w: Math.max(4, Math.min(16, Math.floor(wide / width) || 4)), h: many ? 4 : 18 };
  paint(canvas, shown.map((s) => s.letters), width, cell);
  $('names').replaceChildren(...(many ? [] : shown.map((s) => { const name = make('span', s.name); name.style.height = name.style.lineHeight = cell.h + 'px'; return name; })));
  document.querySelectorAll('.mark, .month').forEach((old) => old.remove());
  data.sessions.forEach((day, x) => { if (x && day.slice(0, 7) === data.sessions[x - 1].slice(0, 7)) return; const name = make('span', day.slice(0, 7)); name.className = 'month'; name.style.left = x * cell.w + 'px'; if (cell.w * width > 400 && (x === 0 || x * cell.w > 50)) $('plane').append(name); });
  $('plane').classList.toggle('lined', cell.w > 7 && !many);
  $('plane').style.setProperty('--w', cell.w + 'px'); $('plane').style.setProperty('--h', cell.h + 'px');
  if (!many) shown.forEach((s, y) => { for (const [x, bits] of Object.entries(s.marks || {})) { const mark = make('b', MARKS[[1, 2, 4].find((bit) => bits & bit)]); mark.className = 'mark'; Object.assign(mark.style, { left: x * cell.w + 2 + 'px', top: canvas.offsetTop + y * cell.h + 4 + 'px' }); $('plane').append(mark); } });
  $('count').textContent = `${shown.length.toLocaleString()} × ${width}`;
  move(0, 0);
}
function move(dx, dy, x = at.x, y = at.y) {
  at = { x: Math.max(0, Math.min(data.sessions.length - 1, x + dx)), y: Math.max(0, Math.min(shown.length - 1, y + dy)) };
  const stock = shown[at.y];
  $('cursor').hidden = !stock;
  if (!stock) { say.textContent = words.map.none; return; }
  Object.assign($('cursor').style, { left: at.x * cell.w - 2 + 'px', top: canvas.offsetTop + at.y * cell.h - 2 + 'px', width: cell.w + 4 + 'px', height: cell.h + 4 + 'px' });
  const bits = (stock.marks || {})[at.x] || 0, marks = [1, 2, 4].filter((bit) => bits & bit).map((bit) => words.mark[bit]);
  say.textContent = [`${stock.name} ${stock.code}`, data.sessions[at.x], words.state[stock.letters[at.x]], ...marks].join(' · ');
  if (dx || dy) $('cursor').scrollIntoView({ block: 'nearest', inline: 'nearest' });
  address();
}
async function open() {
  const stock = shown[at.y], session = data.sessions[at.x];
  if (!stock) return;
  const answer = await fetch(`/api/sessions/${stock.code}/${box.dataset.timeframe}/${session}`), told = await answer.json();
  const facts = make('dl'), fact = (name, value, href) => { if (value === null || value === undefined || value === '') return; const to = make('dd', href ? '' : value); if (href) to.append(Object.assign(make('a', value), { href: href + (look ? (href.includes('?') ? '&' : '?') + look : '') })); facts.append(make('dt', words.panel[name]), to); };
  const close = make('button', words.panel.close);
  close.addEventListener('click', shut);
  if (answer.ok) {
    fact('candles', `${told.candles} / ${told.expected}`); fact('explained', told.explained || null); fact('missing', told.missing || null);
    fact('due', told.due_at && told.due_at.slice(0, 16).replace('T', ' '));
    fact('seal', told.seal && `${told.seal.digest.slice(0, 12)}… ${told.seal.sealed_at.slice(0, 16).replace('T', ' ')}`);
    if (told.written_by) fact('run', told.written_by.run_id, `/runs/${told.written_by.run_id}`);
    fact('revisions', told.revisions.length || null); fact('quarantine', told.quarantine.length || null); fact('actions', told.actions.length || null);
    if (told.last_task && told.last_task.error_code) fact('error', `${told.last_task.error_code}: ${told.last_task.error_message}`, `/runs/${told.last_task.run_id}`);
    fact('stock', `${stock.name} ${stock.code}`, `/stocks/${stock.code}?timeframe=${box.dataset.timeframe}&session=${session}`);
  }
  const state = make('p', answer.ok ? `${words.state[told.letter]} — ${words.reason[told.reason]}` : told.detail);
  panel.replaceChildren(make('h2', `${stock.name} · ${session}`), close, state, facts);
  if (answer.ok) say.textContent = `${stock.name} ${stock.code} · ${session} · ${words.state[told.letter]} ${told.candles}/${told.expected}`;
  panel.hidden = false; panel.focus();
}
function shut() { panel.hidden = true; grid.focus(); }
async function load() {
  if (document.hidden) return;
  const answer = await fetch(box.dataset.url, { headers: etag ? { 'If-None-Match': etag } : {} }).catch(() => null);
  if (answer && answer.status === 304) return;
  if (!answer || !answer.ok) { grid.hidden = true; say.textContent = words.map.failed; etag = ''; return; }
  etag = answer.headers.get('ETag') || '';
  const first = !data.sessions.length, [code, session] = (query.get('at') || '').split(' ');
  data = await answer.json();
  grid.hidden = false;
  if (first) at = { x: data.sessions.length - 1, y: 0 };
  draw();
  if (first && session) move(0, 0, Math.max(0, data.sessions.indexOf(session)), Math.max(0, shown.findIndex((s) => s.code === code)));
  if (first) grid.scrollLeft = 1e6;
  document.documentElement.dataset.ready = Math.round(performance.now());
}
$('find').value = query.get('q') || ''; $('only').checked = query.get('problems') === 'true'; $('worst').checked = query.get('worst') === 'true';
for (const id of ['find', 'only', 'worst']) $(id).addEventListener('input', draw);
document.querySelector('.filter').addEventListener('submit', (event) => event.preventDefault());
addEventListener('keydown', (event) => { if (event.key === 'Escape' && !panel.hidden) shut(); });
addEventListener('resize', draw);
walk(grid, canvas, () => cell, (...step) => (step.length === 2 && !step[0] && !step[1] ? draw() : move(...step)), open);
await load();
setInterval(load, 15000);
