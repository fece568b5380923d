// One call on its candles.
"use strict";

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
  return made;
}

showCandles((data) => drawCandles(data.candles, () => marks(data), (chart) => {
  steps(data.levels, 2, "down", "stop", chart);
  steps(data.levels, 4, "up", "target", chart);
}));
