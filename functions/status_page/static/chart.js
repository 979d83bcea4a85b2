// Candles and volume in Seoul's wall clock, given as if it were UTC: the chart knows no time zones. The map of candle slots.
import { CandlestickSeries, createChart, createSeriesMarkers, HistogramSeries } from './lightweight-charts.js';
import { Grid, style } from './grid.js';
import { poll } from './poll.js';
const [box, say, slots, slot] = ['chart', 'say', 'slots', 'slot'].map((id) => document.getElementById(id)), words = JSON.parse(box.dataset.words), [up, down, line] = ['up', 'down', 'line'].map(style);
const isIntraday = box.dataset.timeframe.endsWith('m'), clock = (at) => at.slice(0, isIntraday ? 16 : 10).replace('T', ' ');
const time = (at) => (isIntraday ? Date.parse(`${at.slice(0, 19)}Z`) / 1000 : at.slice(0, 10));
const chart = createChart(box, {
  autoSize: true, localization: { locale: document.documentElement.lang, priceFormatter: (price) => Math.round(price).toLocaleString() }, grid: { vertLines: { color: line }, horzLines: { color: line } },
  layout: { background: { color: 'transparent' }, textColor: style('mute'), attributionLogo: false, fontFamily: getComputedStyle(box).fontFamily },
  timeScale: { timeVisible: isIntraday, secondsVisible: false, borderColor: line, rightOffset: 4 },
  rightPriceScale: { borderColor: line, scaleMargins: { top: 0.08, bottom: 0.24 } },
});
const candles = chart.addSeries(CandlestickSeries, { upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false, priceFormat: { type: 'price', precision: 0, minMove: 1 } });
const volume = chart.addSeries(HistogramSeries, { priceScaleId: '', lastValueVisible: false, priceLineVisible: false });
volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
createSeriesMarkers(candles, JSON.parse(box.dataset.marks).map((mark) => ({ ...mark, time: time(mark.at), color: style(mark.color) })));
chart.subscribeCrosshairMove(({ seriesData }) => {
  const told = seriesData.get(candles)?.customValues, name = (key) => `${words.chart[key]} ${told[key].toLocaleString()}`;
  if (told) say.textContent = [clock(told.opened_at), ...['open', 'high', 'low', 'close', 'volume'].map(name)].join(' · ');
});
const steps = { ArrowLeft: [-0.1, -0.1], ArrowRight: [0.1, 0.1], '+': [0.1, -0.1], '-': [-0.1, 0.1] }, scale = chart.timeScale();
box.onkeydown = ({ key }) => {
  const [left, right] = steps[key] ?? [], { from, to } = scale.getVisibleLogicalRange() ?? {}, wide = to - from;
  if (left && wide) scale.setVisibleLogicalRange({ from: from + left * wide, to: to + right * wide });
  return !left;
};
await poll(box.dataset.url, async (answer) => {
  const told = (await answer.json()).candles.map((candle) => ({ ...candle, time: time(candle.opened_at), customValues: candle }));
  candles.setData(told);
  volume.setData(told.map((candle) => ({ time: candle.time, value: candle.volume, color: `${candle.close >= candle.open ? up : down}66` })));
  say.textContent = told.length ? `${clock(told[0].opened_at)} – ${clock(told.at(-1).opened_at)} · ${words.chart.unit}` : words.chart.none;
})();
const grid = slots && new Grid(slots, (row, x) => { slot.textContent = `${row.code} ${row.times[x]} · ${words.state[row.letters[x]] ?? '–'}`; });
if (slots) await poll(slots.dataset.url, async (answer) => {
  const { times, sessions, letters } = await answer.json(), rows = sessions.map((day, y) => ({ code: day, name: day, letters: letters[y], times }));
  slots.hidden = false;
  grid.show(times.map((each) => (each.endsWith(':00') ? each : '')), rows.reverse());
})();
