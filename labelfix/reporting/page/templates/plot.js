// The trajectory: probability of the given and of the suggested label over training, in-sample and out-of-fold.
function plot(card) {
  const [width, height, left, right, top, base] = [440, 190, 46, 430, 10, 160];
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "trajectory" });
  const said = [];
  for (const tick of [0, 0.5, 1]) {
    const y = base - tick * (base - top);
    svg.append(
      draw("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }),
      draw("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, percent(tick)),
    );
  }
  svg.append(
    draw("text", { x: left, y: base + 20 }, "start"),
    draw("text", { x: right, y: base + 20, "text-anchor": "end" }, "end of training"),
  );
  const kinds = { in_sample: "in-sample", out_of_fold: "out-of-fold" };
  for (const [block, words] of Object.entries(kinds)) {
    const [curves, progress] = [card.history[block], page.progress[block] || []];
    if (!curves) continue;
    for (const label of ["given", "suggested"]) {
      const values = curves[label];
      if (!values.length) continue;
      const at = values.map((p, e) => [
        left + (progress[e] ?? (e + 1) / values.length) * (right - left),
        base - p * (base - top),
      ]);
      const points = at.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
      svg.append(draw("polyline", { class: `${label} ${block}`, points }));
      if (values.length === 1 || block === "out_of_fold") {
        for (const [x, y] of at) svg.append(draw("circle", { class: label, cx: x, cy: y, r: values.length === 1 ? 4 : 2 }));
      }
      said.push(`${label} label, ${words}: ${percent(values[0])} at first, ${percent(values.at(-1))} at the end`);
    }
  }
  if (!said.length) return null;
  svg.setAttribute("aria-label", `Probability over training. ${said.join("; ")}.`);
  const keys = make("p", { class: "axes" });
  for (const label of ["given", "suggested"]) {
    keys.append(make("span", { class: `key ${label}` }, label === "given" ? "given: " : "suggested: ", nameOf(card[label])));
  }
  if (card.history.in_sample) keys.append(make("span", { class: "key dashed" }, "dashed: models that saw this label"));
  return make("figure", {}, svg, keys);
}
