// The suspects as the page's JSON has them, and how elements are made: text is always set as text, never parsed.
const page = JSON.parse(document.getElementById("data").textContent);
const cards = page.cards;
const by = (id) => document.getElementById(id);
const articles = [...document.querySelectorAll("#cards > .card")];
const shownClass = (k) => (k < 0 ? "none" : page.shown[k] || "(empty)");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const nameOf = (k, kind = "") => make("bdi", { class: `name ${kind}`, title: shownClass(k) }, shownClass(k));
const cut = (text) => (text.length > 40 ? `${text.slice(0, 39)}…` : text);
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const percent = (share) => {
  if (share > 0 && share < 0.005) return "< 1 %";
  if (share < 1 && share >= 0.995) return "> 99 %";
  return `${Math.round(100 * share)} %`;
};

document.documentElement.classList.add("live");
for (const element of document.querySelectorAll(".js")) element.hidden = false;

// One part at a time; without this script all of them stand below each other.
const parts = [...document.querySelectorAll("main > .part")];
const tabs = [...document.querySelectorAll("[data-tab]")];

function showPart(name) {
  if (!parts.some((part) => part.id === name)) return;
  for (const part of parts) part.hidden = part.id !== name;
  for (const tab of tabs) {
    if (tab.dataset.tab === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
