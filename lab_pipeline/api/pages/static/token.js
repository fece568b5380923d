// The candles of a token, with its calls.
"use strict";

showCandles((data) => {
  if (data.together > 1) document.getElementById("together").textContent = `${data.together} candles are drawn as one.`;
  const calls = () => data.calls.map(([time, caller]) => ({ time, position: "belowBar", shape: "arrowUp", color: colour("accent"), text: brief(caller) }));
  const faults = () => data.faults.map(([time, fault]) => ({ time, position: "aboveBar", shape: "square", color: colour("down"), text: fault.replaceAll("_", " ") }));
  drawCandles(data.candles, () => [...calls(), ...faults()]);
});
