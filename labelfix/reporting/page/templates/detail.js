// The detail view: everything known of one suspect.
const dialog = by("detail");
let detailAt = -1;
let thumbnails = null; // parsed when first needed: most of the page's bytes are there

function pictureOf(at) {
  const held = articles[at].querySelector(".pic");
  return held ? [...held.childNodes].map((node) => node.cloneNode(true)) : [];
}

function neighbour([row, label, similarity]) {
  thumbnails ??= JSON.parse(by("thumbnails").textContent);
  const known = placeOf.get(row);
  const source = known === undefined ? thumbnails[row] : articles[known].querySelector("img")?.src;
  const image = source ? make("img", { src: source, alt: `Neighbour labelled ${shownClass(label)}` }) : make("span", { class: "none" }, "no image");
  const card = cards[detailAt];
  const kind = label === card.suggested ? "suggested" : label === card.given ? "given" : "";
  return make("li", {}, image, nameOf(label, kind), make("small", {}, `similarity ${similarity.toFixed(2)}`));
}

const placeOf = new Map(cards.map((card, at) => [card.row, at]));

function bar([label, p], index) {
  const card = cards[detailAt];
  const kind = label === card.suggested ? "suggested" : label === card.given ? "given" : "";
  const meter = make("span", { class: `meter ${kind}` });
  meter.style.setProperty("--p", p);
  const button = make("button", { type: "button", class: "pick" }, make("kbd", {}, index < 9 ? String(index + 1) : "·"), nameOf(label, kind), meter, make("span", { class: "number" }, percent(p)));
  button.addEventListener("click", () => decide(detailAt, "relabel", label));
  return make("li", {}, button);
}

function score([corrector, value, suggested, flagged]) {
  const verdict = flagged === null || flagged === undefined ? "–" : flagged ? "yes" : "no";
  return make("tr", {}, make("th", { scope: "row" }, corrector), make("td", { class: "number" }, value === null ? "–" : value.toFixed(3)), make("td", {}, suggested < 0 ? "–" : nameOf(suggested)), make("td", {}, verdict));
}

function open(at) {
  const card = cards[at];
  detailAt = at;
  by("detail-title").replaceChildren(`#${card.rank} `, nameOf(card.given, "given"), " → ", nameOf(card.suggested, "suggested"), make("span", { class: "odds" }, `${percent(card.suspicion)} wrong`));
  by("detail-picture").hidden = !articles[at].querySelector(".pic");
  by("detail-picture").replaceChildren(...pictureOf(at));
  by("detail-id").replaceChildren(make("bdi", {}, card.name), ...(card.who ? [" · labelled by ", make("bdi", {}, card.who)] : []));
  by("detail-why").textContent = card.why;
  const rest = card.other > 0.0005 ? [make("li", { class: "rest" }, `${percent(card.other)} for all other classes`)] : [];
  by("detail-soft").replaceChildren(...card.soft.map(bar), ...rest);
  const curve = plot(card);
  by("detail-plot").replaceChildren(make("h3", {}, "Training trajectory"), curve ?? make("p", {}, "None was recorded."));
  by("detail-near").hidden = card.neighbours.length === 0;
  by("detail-near").querySelector("ul").replaceChildren(...card.neighbours.map(neighbour));
  const flags = card.opinions.map(([name, value, suggested, own], i) => [name, value, suggested, i === 0 ? card.kinds.includes("error") : own]);
  by("detail-scores").replaceChildren(...flags.map(score));
  const place = visible.indexOf(at);
  by("previous").disabled = place <= 0;
  by("following").disabled = place < 0 || place === visible.length - 1;
  showDecision();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".sheet-body").scrollTop = 0;
}

function showDecision() {
  const mark = markOf(cards[detailAt]);
  for (const name of ["accept", "reject"]) {
    by(`detail-${name}`).setAttribute("aria-pressed", String(mark?.decision === name));
  }
  by("detail-accept").disabled = cards[detailAt].suggested < 0;
  by("relabel").value = mark?.decision === "relabel" ? String(mark.label) : "";
  by("undo").disabled = !mark;
}

function step(by) {
  const place = visible.indexOf(detailAt) + by;
  if (place >= 0 && place < visible.length) open(visible[place]);
}

if (articles.length) {
  by("relabel").append(...page.shown.map((name, k) => make("option", { value: k }, cut(name || "(empty)"))));
  by("relabel").addEventListener("change", (event) => {
    if (event.target.value) decide(detailAt, "relabel", Number(event.target.value));
    else undo(detailAt);
  });
  by("detail-accept").addEventListener("click", () => decide(detailAt, "accept"));
  by("detail-reject").addEventListener("click", () => decide(detailAt, "reject"));
  by("undo").addEventListener("click", () => undo(detailAt));
  by("previous").addEventListener("click", () => step(-1));
  by("following").addEventListener("click", () => step(1));
  by("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    const at = detailAt;
    detailAt = -1;
    focusCard(at);
  });
}
