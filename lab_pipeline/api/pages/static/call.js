// One call on its candles.
"use strict";

const DECADE = 10; // prices that span more are drawn on a logarithmic axis
const MOST_DIGITS = 12;
const place = document.getElementById("chart");
const log = document.getElementById("log");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function steps(of, column, colourName, title, chart) {
  const series = chart.addSeries(LightweightCharts.LineSeries, {
    color: colour(colourName), lineWidth: 1, lineStyle: 2, lineType: 1, title, priceLineVisible: false, lastValueVisible: false,
    crosshairMarkerVisible: false,
  });
  const points = new Map();
  of.forEach((row) => points.set(row[0], row[column] === null ? { time: row[0] } : { time: row[0], value: row[column] }));
  if (of.length) points.set(of[of.length - 1][0] + 1, { time: of[of.length - 1][0] + 1 });
  series.setData([...points.values()].sort((one, other) => one.time - other.time));
  return series;
}

function marks(data) {
  const made = [{ time: data.calledAt, position: "belowBar", shape: "arrowUp", color: colour("accent"), text: "call" }];
  data.fills.forEach(([time, number, side, , fraction, reason]) => {
    const share = fraction < 1 ? ` ${Math.round(fraction * 100)}%` : "";
    const which = number > 1 ? ` (${number})` : "";
    made.push({
      time, position: side === "buy" ? "belowBar" : "aboveBar", shape: side === "buy" ? "arrowUp" : "arrowDown",
      color: colour(side === "buy" ? "up" : "down"), text: `${reason.replaceAll("_", " ")}${share}${which}`,
    });
  });
  // a marker lies on a candle: on the last that began by then
  const times = data.candles.map((candle) => candle[0]);
  made.forEach((mark) => {
    let low = 0;
    let high = times.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (times[middle] <= mark.time) low = middle; else high = middle - 1;
    }
    mark.time = times[low];
  });
  return made.sort((one, other) => one.time - other.time);
}

function digits(candles) {
  const least = Math.min(...candles.map((candle) => candle[3]).filter((price) => price > 0));
  return Math.min(MOST_DIGITS, Math.max(2, 3 - Math.floor(Math.log10(least))));
}

function draw(data) {
  place.replaceChildren();
  const chart = LightweightCharts.createChart(place, {
    autoSize: true,
    layout: { background: { color: colour("card") }, textColor: colour("muted"), fontFamily: "inherit" },
    grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
    timeScale: { timeVisible: true, borderColor: colour("line") },
    rightPriceScale: { borderColor: colour("line"), mode: log.checked ? 1 : 0 },
    crosshair: { mode: 0 },
  });
  const precision = digits(data.candles);
  const series = chart.addSeries(LightweightCharts.CandlestickSeries, {
    upColor: colour("up"), downColor: colour("down"), wickUpColor: colour("up"), wickDownColor: colour("down"), borderVisible: false,
    priceLineVisible: false, lastValueVisible: false, priceFormat: { type: "price", precision, minMove: 10 ** -precision },
  });
  series.setData(data.candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close })));
  steps(data.levels, 2, "down", "stop", chart);
  steps(data.levels, 4, "up", "target", chart);
  LightweightCharts.createSeriesMarkers(series, marks(data));
  chart.timeScale().fitContent();
}

if (place) {
  ask("GET", place.dataset.source).then((data) => {
    const prices = data.candles.flatMap((candle) => [candle[2], candle[3]]);
    log.checked = Math.max(...prices) / Math.min(...prices) > DECADE;
    draw(data);
    log.addEventListener("change", () => draw(data));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(data));
    place.dataset.drawn = data.candles.length;
  }).catch((error) => { document.getElementById("said").textContent = error.message; });
}
