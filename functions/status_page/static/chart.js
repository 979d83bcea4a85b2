// Candles and volume in Seoul's wall clock, and the map of a stock's candle slots.
import { CandlestickSeries, createChart, createSeriesMarkers, HistogramSeries } from './lightweight-charts.js';
import { $, paint, walk } from './cells.js';
const box = $('chart'), say = $('say'), words = JSON.parse(box.dataset.words);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
const intraday = box.dataset.timeframe.endsWith('m');
// The chart knows no time zones: it is given Seoul's wall clock as if it were UTC.
const time = (at) => (intraday ? Date.parse(at.slice(0, 19) + 'Z') / 1000 : at.slice(0, 10));
const answer = await fetch(box.dataset.url).catch(() => null);
const told = answer && answer.ok ? await answer.json() : null;
if (!told || !told.candles.length) say.textContent = told ? words.chart.none : words.chart.failed;
else {
  const chart = createChart(box, {
    autoSize: true, localization: { locale: document.documentElement.lang },
    layout: { background: { color: 'transparent' }, textColor: style('mute'), attributionLogo: false, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: style('line') }, horzLines: { color: style('line') } },
    timeScale: { timeVisible: intraday, secondsVisible: false, borderColor: style('line') }, rightPriceScale: { borderColor: style('line') },
  });
  const up = style('up'), down = style('down');
  const candles = chart.addSeries(CandlestickSeries, { upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false, priceFormat: { type: 'price', precision: 0, minMove: 1 } });
  candles.setData(told.candles.map((c) => ({ time: time(c.opened_at), open: c.open, high: c.high, low: c.low, close: c.close })));
  const volume = chart.addSeries(HistogramSeries, { priceFormat: { type: 'volume' }, priceScaleId: '' });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.8, bottom: 0 } });
  volume.setData(told.candles.map((c) => ({ time: time(c.opened_at), value: c.volume, color: (c.close >= c.open ? up : down) + '66' })));
  const marks = JSON.parse(box.dataset.marks).map(([at, text, colour]) => ({ time: time(at), position: 'aboveBar', shape: text === '▲' ? 'arrowUp' : 'circle', color: style(colour), text })).filter((mark) => told.candles.some((c) => time(c.opened_at) === mark.time));
  createSeriesMarkers(candles, marks);
  chart.subscribeCrosshairMove((move) => {
    const c = move.time !== undefined && move.seriesData.get(candles);
    if (c) say.textContent = `${intraday ? new Date(move.time * 1000).toISOString().slice(0, 16).replace('T', ' ') : move.time} · ${words.chart.open} ${c.open.toLocaleString()} ${words.chart.high} ${c.high.toLocaleString()} ${words.chart.low} ${c.low.toLocaleString()} ${words.chart.close} ${c.close.toLocaleString()}`;
  });
  say.textContent = `${told.candles[0].opened_at.slice(0, 16).replace('T', ' ')} – ${told.candles.at(-1).opened_at.slice(0, 16).replace('T', ' ')}`;
  document.documentElement.dataset.ready = Math.round(performance.now());
}
const slots = $('slots');
if (slots) {
  const map = await (await fetch(slots.dataset.url)).json(), canvas = document.createElement('canvas'), rows = map.letters.toReversed(), days = map.sessions.toReversed();
  const cell = { w: Math.max(5, Math.floor((slots.clientWidth - 24) / map.times.length)), h: 10 };
  let at = { x: 0, y: Math.max(0, days.indexOf(slots.dataset.session)) };
  slots.append(canvas);
  const move = (dx, dy, x = at.x, y = at.y) => {
    at = { x: Math.max(0, Math.min(map.times.length - 1, x + dx)), y: Math.max(0, Math.min(days.length - 1, y + dy)) };
    paint(canvas, rows, map.times.length, cell);
    const pen = canvas.getContext('2d'), letter = rows[at.y][at.x];
    pen.fillStyle = style('fg'); pen.fillRect(at.x, at.y, 1, 1);
    $('slot').textContent = `${days[at.y]} ${map.times[at.x]} · ${words.state[letter] || '–'}`;
  };
  walk(slots, canvas, () => cell, move);
  move(0, 0);
}
