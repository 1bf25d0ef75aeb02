// Marks: the reader's decisions, kept in this browser by row of the manifest, and downloaded as answers.
const KEY = `labelfix:${page.key}`;
let marks = {};
let kept = true;
try {
  marks = JSON.parse(localStorage.getItem(KEY)) || {};
} catch {
  kept = false;
}

function markOf(card) {
  const mark = marks[card.row];
  const known = mark && ["accept", "reject", "relabel"].includes(mark.decision) && page.classes[mark.label] !== undefined;
  return known ? mark : null;
}

function decide(at, decision, label) {
  const card = cards[at];
  if (decision === "relabel" && label === card.given) decision = "reject";
  if (decision === "relabel" && label === card.suggested) decision = "accept";
  if (decision === "accept") label = card.suggested;
  if (decision === "reject") label = card.given;
  if (label < 0) return;
  marks[card.row] = { decision, label };
  keep(at);
}

function undo(at) {
  delete marks[cards[at].row];
  keep(at);
}

function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(marks));
  } catch {
    kept = false;
  }
}

function keep(at) {
  save();
  showMark(at);
  countMarks();
  if (detailAt === at) showDecision();
}

function showMark(at) {
  const mark = markOf(cards[at]);
  const article = articles[at];
  article.dataset.mark = mark ? mark.decision : "";
  for (const name of ["accept", "reject"]) {
    article.querySelector(`.${name}`).setAttribute("aria-pressed", String(Boolean(mark) && mark.decision === name));
  }
  article.querySelector(".decision")?.remove();
  if (mark) {
    const what = { accept: "accepted: ", reject: "rejected: stays ", relabel: "relabelled: " }[mark.decision];
    article.querySelector(".actions").before(make("p", { class: "decision" }, what, nameOf(mark.label)));
  }
}

function countMarks() {
  const counts = { accept: 0, reject: 0, relabel: 0 };
  for (const card of cards) if (markOf(card)) counts[markOf(card).decision] += 1;
  const total = counts.accept + counts.reject + counts.relabel;
  const said = `${counts.accept} accepted, ${counts.reject} rejected, ${counts.relabel} relabelled`;
  const lost = kept ? "" : "; this browser does not keep marks, so download them before you leave";
  by("marked").textContent = total ? `${plural(total, "mark")}: ${said}${lost}` : `no marks yet${lost}`;
  by("download").disabled = by("forget").disabled = total === 0;
}

// A spreadsheet would run a value that begins like a formula. The ' before it is what OWASP advises; it is put before
// values that begin with ' and such a sign too, so that taking one ' away always gives the value back.
const guarded = (value) => (/^'*[=+\-@\t\r]/.test(value) ? `'${value}` : value);
const quoted = (value) => `"${guarded(value).replaceAll('"', '""')}"`;

function answers() {
  const lines = ["id,label,decision"];
  for (const card of cards) {
    const mark = markOf(card);
    if (!mark) continue;
    lines.push([card.id, page.classes[mark.label], mark.decision].map(quoted).join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

if (articles.length) {
  by("download").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([answers()], { type: "text/csv;charset=utf-8" }));
    make("a", { href: url, download: "answers.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  by("forget").addEventListener("click", () => {
    if (!confirm("Forget all marks of this report?")) return;
    for (const card of cards) delete marks[card.row];
    save();
    cards.forEach((_, at) => showMark(at));
    countMarks();
  });
}
