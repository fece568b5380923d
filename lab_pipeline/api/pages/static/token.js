// The candles of a token, with its calls.
"use strict";

showCandles((data) => {
  if (data.together > 1) document.getElementById("together").textContent = `${data.together} candles are drawn as one.`;
  const marks = () => data.calls.map(([time, caller]) => ({ time, position: "belowBar", shape: "arrowUp", color: colour("accent"), text: brief(caller) }));
  drawCandles(data.candles, marks);
});
