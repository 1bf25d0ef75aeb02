// Filters: which suspects are shown. `visible` holds their places in order.
let visible = cards.map((_, at) => at);
const chosen = (name) => by(`by-${name}`)?.value ?? "";

function matches(card) {
  const wanted = by("search").value.trim().toLowerCase();
  if (wanted && !card.id.toLowerCase().includes(wanted) && !card.name.toLowerCase().includes(wanted)) return false;
  const [group, pair, who] = [chosen("class"), chosen("pair"), chosen("annotator")];
  if (group && card.given !== Number(group) && card.suggested !== Number(group)) return false;
  if (pair && `${card.given}>${card.suggested}` !== pair) return false;
  if (who && card.annotator !== who.slice(1)) return false;
  if (chosen("kind") && !card.kinds.includes(chosen("kind"))) return false;
  if (chosen("tools") && card.tools !== chosen("tools")) return false;
  return !chosen("mark") || (markOf(card)?.decision ?? "none") === chosen("mark");
}

function filter() {
  visible = [];
  cards.forEach((card, at) => {
    const fits = matches(card);
    articles[at].hidden = !fits;
    if (fits) visible.push(at);
  });
  by("shown").textContent =
    visible.length === cards.length ? `${plural(cards.length, "suspect")}` : `${visible.length} of ${plural(cards.length, "suspect")}`;
  by("nothing").hidden = visible.length > 0;
}

function fill(name, counts, textOf) {
  const select = by(`by-${name}`);
  if (!select) return;
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  select.append(...sorted.map(([value, count]) => make("option", { value }, `${textOf(value)} (${count})`)));
}

if (articles.length) {
  const [classes, pairs, people] = [new Map(), new Map(), new Map()];
  const add = (counts, value) => counts.set(value, (counts.get(value) || 0) + 1);
  const who = new Map();
  for (const card of cards) {
    for (const k of new Set([card.given, card.suggested])) if (k >= 0) add(classes, k);
    if (card.suggested >= 0) add(pairs, `${card.given}>${card.suggested}`);
    if (card.annotator) add(people, `=${card.annotator}`);
    who.set(`=${card.annotator}`, card.who);
  }
  fill("class", classes, (k) => cut(shownClass(k)));
  fill("pair", pairs, (pair) => pair.split(">").map((k) => cut(shownClass(Number(k)))).join(" → "));
  fill("annotator", people, (value) => cut(who.get(value)));
  const form = document.querySelector(".filters");
  form.addEventListener("input", filter);
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
}
