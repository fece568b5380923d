// One call on its candles.
"use strict";

// A stop is one line, drawn by the rule that it is of.
const DASHED = 2;
const STOPS = { stop_loss: ["stop", DASHED], break_even: ["break-even", 1], trailing_stop: ["trail", 0] };

// A line through the levels of the rows that `which` takes, with a gap where there is none.
function steps(chart, levels, which, column, { name, style, colourName }) {
  const points = new Map();
  let last = null;
  levels.forEach((row) => {
    const value = which(row) ? row[column] : null;
    if (value === null && last === null) return;
    points.set(row[0], value === null ? { time: row[0] } : { time: row[0], value });
    last = value;
  });
  const values = [...points.values()].sort((one, other) => one.time - other.time);
  if (!values.some((point) => point.value !== undefined)) return;
  chart.addSeries(LightweightCharts.LineSeries, {
    color: colour(colourName), lineWidth: 2, lineStyle: style, lineType: 1, title: name, priceLineVisible: false,
    lastValueVisible: true, crosshairMarkerVisible: false,
  }).setData(values);
}

function marks(data) {
  const made = [{ time: data.calledAt, position: "aboveBar", shape: "arrowDown", color: colour("accent"), text: "call" }];
  data.levels.filter((row) => row[5]).forEach(([time]) => {
    made.push({ time, position: "aboveBar", shape: "square", color: colour("muted"), text: "ambiguous" });
  });
  data.fills.forEach(([time, number, side, , fraction, reason]) => {
    const share = fraction < 1 ? ` ${Math.round(fraction * 100)}%` : "";
    const which = number > 1 ? ` (${number})` : "";
    made.push({
      time, position: side === "buy" ? "belowBar" : "aboveBar", shape: side === "buy" ? "arrowUp" : "arrowDown",
      color: colour(side === "buy" ? "up" : "down"), text: `${reason.replaceAll("_", " ")}${share}${which}`,
    });
  });
  return made;
}

showCandles((data) => drawCandles(data.candles, () => marks(data), (chart) => {
  Object.entries(STOPS).forEach(([reason, [name, style]]) => {
    steps(chart, data.levels, (row) => row[3] === reason, 2, { name, style, colourName: "down" });
  });
  steps(chart, data.levels, () => true, 4, { name: "target", style: DASHED, colourName: "up" });
  if (data.finer.length) {
    const blue = colour("accent");
    chart.addSeries(LightweightCharts.CandlestickSeries, {
      upColor: "transparent", downColor: blue, borderColor: blue, wickColor: blue, priceLineVisible: false, lastValueVisible: false,
    }).setData(data.finer.map(([time, open, high, low, close]) => ({ time, open, high, low, close })));
  }
}));
