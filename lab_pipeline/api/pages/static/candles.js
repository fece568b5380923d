// A chart of candles with markers, in the colours of the page; what the pages of calls and tokens share.
"use strict";

const DECADE = 10; // prices that span more are drawn on a logarithmic axis
const MOST_DIGITS = 12;
const MARGIN = 46; // pixels on either side, for the words beside the first candle and the last
const place = document.getElementById("chart");
const log = document.getElementById("log");
let shown = null; // the chart, once there is one

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function digits(candles) {
  const least = candles.reduce((so, candle) => (candle[3] > 0 ? Math.min(so, candle[3]) : so), Infinity);
  return Math.min(MOST_DIGITS, Math.max(2, 3 - Math.floor(Math.log10(least))));
}

// Names may be long, and a picture cuts nothing off.
function brief(name) {
  const letters = [...visible(name)];
  return letters.length > 24 ? `${letters.slice(0, 23).join("")}…` : letters.join("");
}

// Put each marker on a candle: the last that began by then.
function onCandles(marks, candles) {
  marks.forEach((mark) => {
    let low = 0;
    let high = candles.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (candles[middle][0] <= mark.time) low = middle; else high = middle - 1;
    }
    mark.time = candles[low][0];
  });
  return marks.sort((one, other) => one.time - other.time);
}

function drawCandles(candles, marks, more) {
  if (shown) shown.remove();
  place.replaceChildren();
  const chart = shown = LightweightCharts.createChart(place, {
    autoSize: true,
    layout: { background: { color: colour("card") }, textColor: colour("muted"), fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
    timeScale: { timeVisible: true, minBarSpacing: 0.01, borderColor: colour("line") },
    rightPriceScale: { borderColor: colour("line"), mode: log.checked ? 1 : 0 },
    crosshair: { mode: 0 },
  });
  const precision = digits(candles);
  const series = chart.addSeries(LightweightCharts.CandlestickSeries, {
    upColor: colour("up"), downColor: colour("down"), wickUpColor: colour("up"), wickDownColor: colour("down"), borderVisible: false,
    priceLineVisible: false, lastValueVisible: false, priceFormat: { type: "price", precision, minMove: 10 ** -precision },
  });
  series.setData(candles.map(([time, open, high, low, close]) => ({ time, open, high, low, close })));
  if (more) more(chart);
  LightweightCharts.createSeriesMarkers(series, onCandles(marks(), candles));
  const room = (candles.length * MARGIN) / Math.max(place.clientWidth, 4 * MARGIN) + 1;
  chart.timeScale().setVisibleLogicalRange({ from: -room, to: candles.length + room });
}

// Ask for the data of the page's chart and draw it, again when the scale or the theme changes.
async function showCandles(draw) {
  if (!place) return;
  try {
    const data = await ask("GET", place.dataset.source);
    if (!data.candles.length) return;
    const low = data.candles.reduce((so, candle) => Math.min(so, candle[3]), Infinity);
    const high = data.candles.reduce((so, candle) => Math.max(so, candle[2]), 0);
    log.checked = high / low > DECADE;
    draw(data);
    log.addEventListener("change", () => draw(data));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(data));
    place.dataset.drawn = data.candles.length;
  } catch (error) {
    document.getElementById("said").textContent = error.message;
  }
}
