// Keyboard, clicks on cards, and the part named in the address.
let current = -1;

function focusCard(at) {
  if (at < 0 || !articles[at] || articles[at].hidden) return;
  current = at;
  articles[at].focus({ preventScroll: true });
  articles[at].scrollIntoView({ block: "nearest" });
}

function move(by) {
  const place = visible.indexOf(current);
  const next = place < 0 ? (by > 0 ? 0 : visible.length - 1) : place + by;
  focusCard(visible[Math.min(Math.max(next, 0), visible.length - 1)] ?? -1);
}

function pick(at, digit) {
  const found = cards[at].soft[digit - 1];
  if (found) decide(at, "relabel", found[0]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (by("suspects").hidden || !articles.length) return;
  const at = dialog.open ? detailAt : current;
  const inside = event.target.closest("button, a, summary");
  if (event.key === "j" || event.key === "k") {
    const by = event.key === "j" ? 1 : -1;
    if (dialog.open) step(by);
    else move(by);
  } else if (event.key === "Enter" && !dialog.open && !inside && at >= 0) open(at);
  else if (event.key === "a" && at >= 0) decide(at, "accept");
  else if (event.key === "r" && at >= 0) decide(at, "reject");
  else if (event.key === "u" && at >= 0) undo(at);
  else if (/^[1-9]$/.test(event.key) && at >= 0) pick(at, Number(event.key));
  else return;
  event.preventDefault();
});

by("cards")?.addEventListener("click", (event) => {
  const article = event.target.closest(".card");
  if (!article) return;
  const at = Number(article.dataset.at);
  current = at;
  const pressed = event.target.closest("button");
  if (!pressed || pressed.classList.contains("open")) {
    if (!getSelection().toString()) open(at);
  } else {
    const decision = pressed.classList.contains("accept") ? "accept" : "reject";
    if (markOf(cards[at])?.decision === decision) undo(at);
    else decide(at, decision);
  }
});

by("cards")?.addEventListener("focusin", (event) => {
  const article = event.target.closest(".card");
  if (article) current = Number(article.dataset.at);
});

function follow() {
  const name = location.hash.slice(1);
  const at = articles.findIndex((article) => article.id === name);
  showPart(at >= 0 ? "suspects" : name);
  if (at >= 0) open(at);
}

showPart("suspects");
if (articles.length) {
  cards.forEach((_, at) => markOf(cards[at]) && showMark(at));
  filter();
  countMarks();
}
follow();
addEventListener("hashchange", follow);
